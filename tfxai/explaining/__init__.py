"""The Explainer, which runs a method on a model and gives maps and records, and its parts."""
