"""Methods that cover parts of an image and watch the score."""
