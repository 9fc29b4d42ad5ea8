"""Methods that cover parts of an image and watch how the score changes."""
