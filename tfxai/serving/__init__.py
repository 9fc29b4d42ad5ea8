"""Models and their explanations as one SavedModel."""

from tfxai.serving.saved_model import export, metadata

__all__ = ["export", "metadata"]
