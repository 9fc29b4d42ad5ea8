"""Explanations inside a SavedModel."""
