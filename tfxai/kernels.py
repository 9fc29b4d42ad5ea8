r"""Smoothing kernels (Zhou et al. 2024b): densities phi_eps(x) = phi(x / eps) / eps.

Zhou et al. 2024b is *Axiomatization of Gradient Smoothing in Neural Networks*, arXiv:2407.00371.
Noise is drawn as t = eps Phi^-1(u) with u ~ U(0, 1), independently for each feature, where Phi is
the distribution function of phi.
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
"""The least distance of uniforms from 0 and 1, where Phi^-1 is infinite."""


class Density(Protocol):
    """An even density on the line, by the two functions that smoothing needs of a kernel."""

    @property
    def pdf(self) -> Elementwise:
        """The density phi(x)."""

    @property
    def inverse_cdf(self) -> Elementwise:
        """The quantile function Phi^-1(u), for u in (0, 1)."""


@keras.saving.register_keras_serializable("tfxai")
@dataclass(frozen=True)
class Kernel:
    """An even density on the line, given by elementwise functions of tensors.

    Register the functions of your own kernel with Keras, so that it can be saved.

    Args:
        pdf: the density phi.
        cdf: the distribution function Phi.
        inverse_cdf: the quantile function Phi^-1.

    Example:
        >>> gaussian.pdf(tf.constant([0.0])).numpy().round(4)
        array([0.3989], dtype=float32)
    """

    pdf: Elementwise
    cdf: Elementwise
    inverse_cdf: Elementwise

    def get_config(self) -> dict[str, Any]:
        """Give the registered names of the functions."""
        return {k: keras.saving.serialize_keras_object(f) for k, f in asdict(self).items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Kernel:
        """Make the kernel from the registered names of its functions."""
        return cls(**{k: keras.saving.deserialize_keras_object(f) for k, f in config.items()})

    def __repr__(self) -> str:
        return self.pdf.__name__.removesuffix("_pdf")


def half_width(kernel: Density, confidence: float) -> float:
    r"""Give the r for which the kernel has the mass alpha on [-r, r]: r = Phi^-1((1 + alpha) / 2).

    Args:
        kernel: phi, of scale 1.
        confidence: alpha, between 0 and 1.

    Returns:
        r, in units of the kernel's scale: sqrt(2) erfinv(alpha) for the Gaussian kernel,
        tan(pi alpha / 2) for Poisson, artanh(alpha) for Hyperbolic, ln((1 + alpha) / (1 - alpha))
        for Sigmoid and alpha for Rect.

    Raises:
        TypeError, ValueError: `confidence` is not a number between 0 and 1.

    Reference:
        Zhou et al. 2024b, equation 30 and Appendix D. Two closed forms of the appendix are
        misprinted (docs/methods.md, Smoothing kernels): with arctan(alpha) for Hyperbolic the mass
        at alpha = .95 is .641, and with alpha / 2 for Rect it is .475.

    Example:
        >>> round(half_width(gaussian, 0.95), 6)
        1.959964
    """
    checks.real("confidence", confidence, above=0, below=1)
    with tf.init_scope():
        return float(kernel.inverse_cdf(tf.constant((1 + confidence) / 2, tf.float64)))


def epsilon(kernel: Density, r: float, confidence: float) -> float:
    """Give the scale eps at which a kernel has the mass alpha on [-r, r]: r / half_width.

    Args:
        kernel: phi, of scale 1.
        r: above 0, in units of the noise.
        confidence: alpha, between 0 and 1.

    Returns:
        eps, in units of the noise.

    Raises:
        TypeError, ValueError: `r` or `confidence` is not a number in its range.

    Reference:
        Zhou et al. 2024b, equation 30 and Appendix D (see `half_width`).

    Example:
        >>> [round(epsilon(k, 1.0, 0.95), 4) for k in (gaussian, poisson, hyperbolic)]
        [0.5102, 0.0787, 0.5459]
    """
    return checks.real("r", r, above=0) / half_width(kernel, confidence)


def check(name: str, kernel: Any) -> None:
    """Raise a TypeError for an object that is not a kernel."""
    if not all(callable(getattr(kernel, f, None)) for f in ("pdf", "inverse_cdf")):
        raise TypeError(
            f"{name}={kernel!r}: expected a kernel of tfxai.kernels, such as kernels.gaussian, or "
            "an object with the functions pdf and inverse_cdf"
        )


def quantile(kernel: Density, u: tf.Tensor) -> tf.Tensor:
    """Give Phi^-1(u) for u in [0, 1], clipped to `TINY` from 0 and 1, so that it is finite."""
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
    """e^x / (e^x + 1)^2, the logistic density, computed at -|x| so that nothing overflows."""
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
"""Cauchy's density, which has no variance: gradients are taken far from the input, where those of
deep networks may be infinite or NaN."""
hyperbolic = Kernel(hyperbolic_pdf, hyperbolic_cdf, hyperbolic_inverse_cdf)
"""1 / (2 cosh^2 x), `sigmoid` at half its scale: with epsilon from r and confidence, the two give
equal noise."""
sigmoid = Kernel(sigmoid_pdf, sigmoid_cdf, sigmoid_inverse_cdf)
"""The logistic density."""
rect = Kernel(rect_pdf, rect_cdf, rect_inverse_cdf)
"""The uniform density on [-1, 1]."""
ALL = (gaussian, poisson, hyperbolic, sigmoid, rect)
"""The five kernels of Zhou et al. 2024b."""
