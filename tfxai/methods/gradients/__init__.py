"""Gradients, and their integrals along paths."""
