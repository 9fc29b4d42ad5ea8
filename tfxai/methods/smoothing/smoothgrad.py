"""SmoothGrad (Smilkov et al. 2017), its square, and VarGrad, with any kernel (paper 002)."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfxai import kernels
from tfxai.estimation import aggregators, samplers
from tfxai.estimation.accuracy import budget
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.kernels import Density
from tfxai.methods.gradients.gradient import inner_method
from tfxai.methods.smoothing.noisy_inputs import NOISE_LEVEL, noise_scale, over_noisy_inputs


@builder
def smoothgrad(
    base: keras.Model,
    *,
    samples: int = 50,
    noise_level: float = NOISE_LEVEL,
    kernel: Density = kernels.gaussian,
    epsilon: float | None = None,
    r: float | None = None,
    confidence: float = 0.95,
    proposal: Density | None = None,
    antithetic: bool = False,
    tolerance: float | None = None,
    max_samples: int = 1000,
    resolution: int = 28,
) -> Method:
    """Explain by the mean of another explanation over noisy copies of the input.

    M(x) = 1/N sum_k G(x + eps t_k),  t ~ phi

    Args:
        base: a Keras model, whose gradient is smoothed, or any explainer.
        samples: N.
        noise_level: eps / (max x - min x), of each example; 0 gives `base` itself. For the Gaussian
            eps is the standard deviation; others have eps times .907 (hyperbolic), 1.81
            (sigmoid), .577 (rect), and the Poisson kernel has none.
        kernel: phi, one of `tfxai.kernels` or any object with ``pdf`` and ``inverse_cdf``.
        epsilon: instead of `noise_level`: eps, in units of the input.
        r: instead of `noise_level`: the noise lies within [-r, r] with probability `confidence`.
            Paper 002 takes the data's max x - mean x.
        confidence: alpha in (0, 1), used with `r`.
        proposal: draw t from this density and weigh each sample by phi(t) / p(t), a product over
            all features: for few features.
        antithetic: draw pairs x + t and x - t: 3 to 4 % less error at the same cost on an ImageNet
            classifier (docs/sampling.md), more on smooth networks.
        tolerance: instead of `samples`: sample each example until its ``pooled_error`` is not
            above this number.
        max_samples: where `tolerance` gives up.
        resolution: of the pooled map.

    Returns:
        An Explainer with attributions like those of `base`. `explain` reports ``standard_error``
        of each attribution; ``map_error``, its L2 norm relative to the map's, at 50 samples often
        about 1; ``pooled_error``, that of the picture (`tfxai.estimation.accuracy`);
        ``samples``; and ``dropped``, how many of them were left out because they were not finite.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range.

    Reference:
        Smilkov et al. 2017, section 3; paper 002, eq. 17. Sigma is relative to each image's range
        (METHODS 1.7). The examples of a batch share the draws, so that a map depends on its input
        and seed alone. Of integrated gradients it is SmoothGrad-IG as paper 000's appendix has
        it: the noisy input is scaled, not noise added to the scaled input.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [3.0]])
        >>> smoothgrad(model, samples=4)(tf.constant([[1.0, 2.0]]), seed=7).numpy().round(4)
        array([[2., 3.]], dtype=float32)
    """
    scale = noise_scale(kernel, noise_level, epsilon, r, confidence)
    effort = budget(samples, tolerance, max_samples, resolution)
    if proposal is not None:
        _check_proposal(kernel, proposal)
    if antithetic and (samples % 2 or max_samples % 2):
        raise ValueError(
            f"samples={samples}, max_samples={max_samples}: expected even numbers, for "
            "antithetic pairs"
        )
    sampler = samplers.noise(kernel, scale, proposal=proposal)
    return over_noisy_inputs(
        inner_method(base), sampler, aggregators.mean(), effort, antithetic=antithetic
    )


@builder
def smoothgrad_squared(
    base: keras.Model,
    *,
    samples: int = 50,
    noise_level: float = NOISE_LEVEL,
    kernel: Density = kernels.gaussian,
    epsilon: float | None = None,
    r: float | None = None,
    confidence: float = 0.95,
    tolerance: float | None = None,
    max_samples: int = 1000,
    resolution: int = 28,
) -> Method:
    """Explain by the mean square of another explanation over noisy copies of the input.

    Args, Raises: as `smoothgrad`.

    Returns:
        An Explainer with attributions that are never negative; it reports as `smoothgrad`.

    Reference:
        Hooker et al. 2019, section 3: E[g^2].

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [-3.0]])
        >>> smoothgrad_squared(model, samples=4)(tf.constant([[1.0, 2.0]])).numpy().round(4)
        array([[4., 9.]], dtype=float32)
    """
    scale = noise_scale(kernel, noise_level, epsilon, r, confidence)
    effort = budget(samples, tolerance, max_samples, resolution)
    sampler = samplers.noise(kernel, scale)
    return over_noisy_inputs(inner_method(base), sampler, aggregators.mean_square(), effort)


@builder
def vargrad(
    base: keras.Model,
    *,
    samples: int = 50,
    noise_level: float = NOISE_LEVEL,
    kernel: Density = kernels.gaussian,
    epsilon: float | None = None,
    r: float | None = None,
    confidence: float = 0.95,
    tolerance: float | None = None,
    max_samples: int = 1000,
    resolution: int = 28,
) -> Method:
    """Explain by the variance of another explanation over noisy copies of the input.

    Args, Raises: as `smoothgrad`; `samples` is at least 2.

    Returns:
        An Explainer with attributions that are never negative; zero for a linear model. It
        reports as `smoothgrad`.

    Reference:
        Adebayo et al. 2018: E[g^2] - E[g]^2, biased (1/n, METHODS 1.7), by Welford's recurrence.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> vargrad(model, samples=4)(tf.constant([[1.0, 2.0]])).numpy().round(4) + 0.0
        array([[0., 0.]], dtype=float32)
    """
    scale = noise_scale(kernel, noise_level, epsilon, r, confidence)
    effort = budget(samples, tolerance, max_samples, resolution, least=2)
    sampler = samplers.noise(kernel, scale)
    return over_noisy_inputs(inner_method(base), sampler, aggregators.variance(), effort)


def _check_proposal(kernel: Density, proposal: Density) -> None:
    """Raise a ValueError where the proposal never draws what the kernel needs."""
    kernels.check("proposal", proposal)
    with tf.init_scope():
        points = kernels.quantile(kernel, tf.linspace(tf.constant(0.0, tf.float64), 1.0, 1001))
        missed = points[(kernel.pdf(points) > 0) & ~(proposal.pdf(points) > 0)].numpy()
    if missed.size:
        raise ValueError(
            f"proposal={proposal!r} has the density 0 at {missed[0]:.4g}, where the kernel "
            f"{kernel!r} has not: take a wider one"
        )
