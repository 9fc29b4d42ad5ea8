"""Smoothing kernels (paper 002, METHODS 3): densities phi with t = epsilon * inverse_cdf(u)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfxai")
@dataclass(frozen=True)
class Kernel:
    """An even density on the line, by its elementwise functions; register your own with Keras."""

    pdf: Callable[[tf.Tensor], tf.Tensor]
    cdf: Callable[[tf.Tensor], tf.Tensor]
    inverse_cdf: Callable[[tf.Tensor], tf.Tensor]

    def get_config(self) -> dict[str, Any]:
        """Give the functions by their registered names."""
        return {k: keras.saving.serialize_keras_object(f) for k, f in asdict(self).items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Kernel:
        """Find the functions by their registered names."""
        return cls(**{k: keras.saving.deserialize_keras_object(f) for k, f in config.items()})


@keras.saving.register_keras_serializable("tfxai")
def gaussian_pdf(x: tf.Tensor) -> tf.Tensor:
    """Density of N(0, 1)."""
    return tf.exp(-x * x / 2) / math.sqrt(2 * math.pi)


@keras.saving.register_keras_serializable("tfxai")
def gaussian_cdf(x: tf.Tensor) -> tf.Tensor:
    """Distribution function of N(0, 1)."""
    return (tf.math.erf(x / math.sqrt(2)) + 1) / 2


@keras.saving.register_keras_serializable("tfxai")
def gaussian_inverse_cdf(u: tf.Tensor) -> tf.Tensor:
    """Quantile function of N(0, 1)."""
    return math.sqrt(2) * tf.math.erfinv(2 * u - 1)


gaussian = Kernel(gaussian_pdf, gaussian_cdf, gaussian_inverse_cdf)
"""N(0, 1): SmoothGrad's kernel."""
