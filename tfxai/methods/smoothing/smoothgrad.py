"""SmoothGrad (Smilkov et al. 2017), SmoothGrad squared and VarGrad.

The noise may have any density: Zhou et al. 2024b (smoothing kernels).
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tfxai import kernels, scores
from tfxai.core.types import Score
from tfxai.estimation import aggregators, samplers
from tfxai.estimation.accuracy import budget
from tfxai.estimation.samplers import DEFAULT_NOISE_LEVEL
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.kernels import Density
from tfxai.methods.gradients.gradient import inner_method
from tfxai.methods.smoothing.noisy_inputs import noise_scale, over_noisy_inputs


@builder
def smoothgrad(
    base: keras.Model,
    *,
    samples: int = 50,
    noise_level: float = DEFAULT_NOISE_LEVEL,
    kernel: Density = kernels.gaussian,
    epsilon: float | None = None,
    r: float | None = None,
    confidence: float = 0.95,
    proposal: Density | None = None,
    antithetic: bool = False,
    tolerance: float | None = None,
    max_samples: int = 1000,
    resolution: int = 28,
    score: Score = scores.logit,
) -> Method:
    """Explain by the mean of another explanation over noisy copies of the input.

    M(x) = 1/N sum_k G(x + eps t_k),  t ~ phi

    Args:
        base: a Keras model, whose gradient is smoothed, or any explainer.
        samples: N, the number of noisy copies of each example.
        noise_level: eps / (max x - min x) of each example; 0 gives the explanation by `base`
            itself. The standard deviation of the noise is eps for the Gaussian kernel, .907 eps
            for the hyperbolic, 1.81 eps for the sigmoid and .577 eps for the rect kernel; the
            Poisson kernel has none.
        kernel: phi, one of `tfxai.kernels` or any object with ``pdf`` and ``inverse_cdf``.
        epsilon: instead of `noise_level`: eps, in units of the input.
        r: instead of `noise_level`: the noise lies within [-r, r] with probability `confidence`.
            Zhou et al. 2024b take max x - mean x of the data.
        confidence: alpha in (0, 1), used with `r`.
        proposal: a density p: draw t from p, and weight each sample by phi(t) / p(t), a product
            over all features. It suits inputs with few features.
        antithetic: draw pairs x + t and x - t. The error is 3 to 4 % smaller at the same cost on
            an ImageNet classifier (docs/sampling.md), and smaller still on smooth networks.
        tolerance: instead of `samples`: sample each example until its ``pooled_error`` is at most
            this number.
        max_samples: the most samples that `tolerance` may take.
        resolution: height and width of the pooled map, in cells.
        score: what is explained of a model, (outputs, targets) -> ``[B]``; an explainer has its
            own.

    Returns:
        An Explainer with attributions of the same shape and units as those of `base`. `explain`
        reports ``standard_error``, for each attribution; ``map_error``, the L2 norm of the
        standard error relative to the norm of the map, often about 1 at 50 samples;
        ``pooled_error``, the relative error of the picture of the map
        (`tfxai.estimation.accuracy`); ``samples``, how many were aggregated; and ``dropped``, how
        many were left out because they were not finite.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range.

    Reference:
        Smilkov et al. 2017, section 3; Zhou et al. 2024b, equation 17. The noise is relative to
        the range of each image (docs/methods.md, SmoothGrad, SmoothGrad squared and VarGrad). The
        examples of a batch share the draws, so that a map depends on its input and the seed
        alone. ``smoothgrad(integrated_gradients(model))`` is the SmoothGrad-IG of Schwarzenberg
        and Castle 2020, appendix: the noisy input is scaled along the path.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [3.0]])
        >>> smoothgrad(model, samples=4)(tf.constant([[1.0, 2.0]]), seed=7).numpy().round(4)
        array([[2., 3.]], dtype=float32)
    """
    scale = noise_scale(kernel, noise_level, epsilon, r, confidence)
    sampling_budget = budget(samples, tolerance, max_samples, resolution)
    if proposal is not None:
        _check_proposal(kernel, proposal)
    if antithetic and (samples % 2 or max_samples % 2):
        raise ValueError(
            f"samples={samples}, max_samples={max_samples}: expected even numbers, for "
            "antithetic pairs"
        )
    sampler = samplers.noise(kernel, scale, proposal=proposal)
    return over_noisy_inputs(
        inner_method(base, score),
        sampler,
        aggregators.mean(),
        sampling_budget,
        antithetic=antithetic,
    )


@builder
def smoothgrad_squared(
    base: keras.Model,
    *,
    samples: int = 50,
    noise_level: float = DEFAULT_NOISE_LEVEL,
    kernel: Density = kernels.gaussian,
    epsilon: float | None = None,
    r: float | None = None,
    confidence: float = 0.95,
    tolerance: float | None = None,
    max_samples: int = 1000,
    resolution: int = 28,
    score: Score = scores.logit,
) -> Method:
    """Explain by the mean square of another explanation over noisy copies of the input.

    Args, Raises: as `smoothgrad`.

    Returns:
        An Explainer with attributions that are never negative, and the diagnostics of
        `smoothgrad`.

    Reference:
        Hooker et al. 2019, section 3: E[g^2], with g the explanation of a noisy copy.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [-3.0]])
        >>> smoothgrad_squared(model, samples=4)(tf.constant([[1.0, 2.0]])).numpy().round(4)
        array([[4., 9.]], dtype=float32)
    """
    scale = noise_scale(kernel, noise_level, epsilon, r, confidence)
    sampling_budget = budget(samples, tolerance, max_samples, resolution)
    sampler = samplers.noise(kernel, scale)
    return over_noisy_inputs(
        inner_method(base, score), sampler, aggregators.mean_square(), sampling_budget
    )


@builder
def vargrad(
    base: keras.Model,
    *,
    samples: int = 50,
    noise_level: float = DEFAULT_NOISE_LEVEL,
    kernel: Density = kernels.gaussian,
    epsilon: float | None = None,
    r: float | None = None,
    confidence: float = 0.95,
    tolerance: float | None = None,
    max_samples: int = 1000,
    resolution: int = 28,
    score: Score = scores.logit,
) -> Method:
    """Explain by the variance of another explanation over noisy copies of the input.

    Args, Raises: as `smoothgrad`; `samples` is at least 2.

    Returns:
        An Explainer with attributions that are never negative, and zero for a linear model. The
        diagnostics are those of `smoothgrad`.

    Reference:
        Adebayo et al. 2018: E[g^2] - E[g]^2, with g the explanation of a noisy copy. The variance
        is the biased one (1/N), computed by Welford's recurrence (docs/methods.md, SmoothGrad,
        SmoothGrad squared and VarGrad).

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> vargrad(model, samples=4)(tf.constant([[1.0, 2.0]])).numpy().round(4) + 0.0
        array([[0., 0.]], dtype=float32)
    """
    scale = noise_scale(kernel, noise_level, epsilon, r, confidence)
    sampling_budget = budget(samples, tolerance, max_samples, resolution, least=2)
    sampler = samplers.noise(kernel, scale)
    return over_noisy_inputs(
        inner_method(base, score), sampler, aggregators.variance(), sampling_budget
    )


def _check_proposal(kernel: Density, proposal: Density) -> None:
    """Raise a ValueError if the proposal has density 0 where the kernel has not."""
    kernels.check("proposal", proposal)
    with tf.init_scope():
        points = kernels.quantile(kernel, tf.linspace(tf.constant(0.0, tf.float64), 1.0, 1001))
        missed = points[(kernel.pdf(points) > 0) & ~(proposal.pdf(points) > 0)].numpy()
    if missed.size:
        raise ValueError(
            f"proposal={proposal!r} has the density 0 at {missed[0]:.4g}, where the kernel "
            f"{kernel!r} has not: take a wider one"
        )
