"""Keras models: their graphs, heads, layers and channels, and models made of them."""
