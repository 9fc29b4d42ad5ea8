r"""Smoothing kernels (paper 002, METHODS 3): densities phi_eps(x) = phi(x / eps) / eps.

Noise is drawn as t = eps Phi^-1(u) with u ~ U(0, 1), independently for each feature.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import keras
import tensorflow as tf

from tfxai.core import checks

Elementwise = Callable[[tf.Tensor], tf.Tensor]
TINY = 2.0**-24
"""Uniforms are kept so far away from 0 and 1, where Phi^-1 is infinite."""


class Density(Protocol):
    """An even density on the line; all that smoothing asks of a kernel."""

    @property
    def pdf(self) -> Elementwise:
        """The density phi(x)."""

    @property
    def inverse_cdf(self) -> Elementwise:
        """The quantile function Phi^-1(u), for u in (0, 1)."""


@keras.saving.register_keras_serializable("tfxai")
@dataclass(frozen=True)
class Kernel:
    """An even density on the line, by its elementwise functions; register your own with Keras."""

    pdf: Elementwise
    cdf: Elementwise
    inverse_cdf: Elementwise

    def get_config(self) -> dict[str, Any]:
        """Give the functions by their registered names."""
        return {k: keras.saving.serialize_keras_object(f) for k, f in asdict(self).items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Kernel:
        """Find the functions by their registered names."""
        return cls(**{k: keras.saving.deserialize_keras_object(f) for k, f in config.items()})

    def __repr__(self) -> str:
        return self.pdf.__name__.removesuffix("_pdf")


def half_width(kernel: Density, confidence: float) -> float:
    r"""Give the r with the mass alpha on [-r, r]: r = Phi^-1((1 + alpha) / 2).

    Args:
        kernel: phi, of scale 1.
        confidence: alpha, between 0 and 1.

    Returns:
        For the Gaussian sqrt(2) erfinv(alpha); Poisson tan(pi alpha / 2); Hyperbolic
        artanh(alpha); Sigmoid ln((1 + alpha) / (1 - alpha)); Rect alpha.

    Reference:
        Paper 002, eq. 30. Two of its closed forms are misprinted (METHODS 3): with the Hyperbolic's
        arctan(alpha) the mass at alpha = .95 is .641, with the Rect's alpha / 2 it is .475.

    Example:
        >>> round(half_width(gaussian, 0.95), 6)
        1.959964
    """
    checks.real("confidence", confidence, above=0, below=1)
    with tf.init_scope():
        return float(kernel.inverse_cdf(tf.constant((1 + confidence) / 2, tf.float64)))


def epsilon(kernel: Density, r: float, confidence: float) -> float:
    """Give the scale of a kernel that has the mass alpha on [-r, r].

    Args:
        kernel: phi, of scale 1.
        r: above 0, in units of the noise.
        confidence: alpha, between 0 and 1.

    Reference:
        Paper 002, eq. 30 and Table 1 (see `half_width`).

    Example:
        >>> [round(epsilon(k, 1.0, 0.95), 4) for k in (gaussian, poisson, hyperbolic)]
        [0.5102, 0.0787, 0.5459]
    """
    return checks.real("r", r, above=0) / half_width(kernel, confidence)


def check(name: str, kernel: Any) -> None:
    """Raise a TypeError for what is no kernel."""
    if not all(callable(getattr(kernel, f, None)) for f in ("pdf", "inverse_cdf")):
        raise TypeError(
            f"{name}={kernel!r}: expected a kernel of tfxai.kernels, such as kernels.gaussian, or "
            "an object with the functions pdf and inverse_cdf"
        )


def quantile(kernel: Density, u: tf.Tensor) -> tf.Tensor:
    """Give Phi^-1(u), finite for all u in [0, 1]: the ends stand for their neighbours."""
    return kernel.inverse_cdf(tf.clip_by_value(u, TINY, 1 - TINY))


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


@keras.saving.register_keras_serializable("tfxai")
def poisson_pdf(x: tf.Tensor) -> tf.Tensor:
    """Poisson kernel of the half-plane: the Cauchy density."""
    return 1 / (math.pi * (1 + x * x))


@keras.saving.register_keras_serializable("tfxai")
def poisson_cdf(x: tf.Tensor) -> tf.Tensor:
    """Distribution function of the Poisson kernel."""
    return tf.atan(x) / math.pi + 0.5


@keras.saving.register_keras_serializable("tfxai")
def poisson_inverse_cdf(u: tf.Tensor) -> tf.Tensor:
    """Quantile function of the Poisson kernel."""
    return tf.tan(math.pi * (2 * u - 1) / 2)


@keras.saving.register_keras_serializable("tfxai")
def hyperbolic_pdf(x: tf.Tensor) -> tf.Tensor:
    """1 / (2 cosh^2 x), without the overflow of cosh."""
    return 2 * sigmoid_pdf(2 * x)


@keras.saving.register_keras_serializable("tfxai")
def hyperbolic_cdf(x: tf.Tensor) -> tf.Tensor:
    """Distribution function of the hyperbolic kernel."""
    return (tf.tanh(x) + 1) / 2


@keras.saving.register_keras_serializable("tfxai")
def hyperbolic_inverse_cdf(u: tf.Tensor) -> tf.Tensor:
    """Quantile function of the hyperbolic kernel."""
    return tf.atanh(2 * u - 1)


@keras.saving.register_keras_serializable("tfxai")
def sigmoid_pdf(x: tf.Tensor) -> tf.Tensor:
    """e^x / (e^x + 1)^2, the density of the logistic distribution; even, so without overflow."""
    decay = tf.exp(-tf.abs(x))
    return decay / (decay + 1) ** 2


@keras.saving.register_keras_serializable("tfxai")
def sigmoid_cdf(x: tf.Tensor) -> tf.Tensor:
    """e^x / (e^x + 1)."""
    return tf.sigmoid(x)


@keras.saving.register_keras_serializable("tfxai")
def sigmoid_inverse_cdf(u: tf.Tensor) -> tf.Tensor:
    """-ln(1 / u - 1)."""
    return tf.math.log(u) - tf.math.log1p(-u)


@keras.saving.register_keras_serializable("tfxai")
def rect_pdf(x: tf.Tensor) -> tf.Tensor:
    """1 / 2 on [-1, 1]."""
    return tf.where(tf.abs(x) <= 1, tf.constant(0.5, x.dtype), tf.constant(0, x.dtype))


@keras.saving.register_keras_serializable("tfxai")
def rect_cdf(x: tf.Tensor) -> tf.Tensor:
    """Distribution function of U(-1, 1)."""
    return tf.clip_by_value((x + 1) / 2, 0, 1)


@keras.saving.register_keras_serializable("tfxai")
def rect_inverse_cdf(u: tf.Tensor) -> tf.Tensor:
    """Quantile function of U(-1, 1)."""
    return 2 * u - 1


gaussian = Kernel(gaussian_pdf, gaussian_cdf, gaussian_inverse_cdf)
"""N(0, 1): SmoothGrad's kernel."""
poisson = Kernel(poisson_pdf, poisson_cdf, poisson_inverse_cdf)
"""Cauchy: no variance, so gradients far out; they may be infinite or NaN in deep networks."""
hyperbolic = Kernel(hyperbolic_pdf, hyperbolic_cdf, hyperbolic_inverse_cdf)
"""The same family as `sigmoid`: with epsilon from r and confidence the two give equal noise."""
sigmoid = Kernel(sigmoid_pdf, sigmoid_cdf, sigmoid_inverse_cdf)
"""Logistic."""
rect = Kernel(rect_pdf, rect_cdf, rect_inverse_cdf)
"""Uniform on [-1, 1]."""
ALL = (gaussian, poisson, hyperbolic, sigmoid, rect)
"""The five kernels of paper 002."""
