"""The methods, a family a room; each is a function that builds an Explainer."""
