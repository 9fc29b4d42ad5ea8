"""What a saved explanation or benchmark records about how it was made."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def versions() -> dict[str, str]:
    """Give the versions of the libraries on which computed values depend."""
    return {
        "tfxai": version("tfxai"),
        "keras": keras.version(),
        "tensorflow": tf.version.VERSION,
        "numpy": np.__version__,
    }


def readable(options: dict[str, Any]) -> dict[str, Any]:
    """Give options as JSON-like values: numbers and texts stay, other values become texts."""
    return {name: _text(value) for name, value in options.items()}


def _text(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_text(v) for v in value]
    if isinstance(value, np.ndarray) or tf.is_tensor(value):
        return f"array of shape {list(value.shape)}"
    text = getattr(value, "__name__", None) or repr(value).splitlines()[0]
    return type(value).__name__ if " at 0x" in text else text  # an address tells nothing later
