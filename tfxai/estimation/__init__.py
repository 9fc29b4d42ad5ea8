"""Means over samples and along paths, and how far they are from their limit."""
