"""NoiseGrad and FusionGrad (Bykov et al. 2022): noise on the weights of the model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import keras

from tfxai import kernels, scores
from tfxai.core import checks
from tfxai.core.types import Attribution, Score
from tfxai.estimation import aggregators
from tfxai.estimation.accuracy import ARRAYS_PER_EXAMPLE, budget, sampled
from tfxai.estimation.estimate import over_weights
from tfxai.estimation.samplers import DEFAULT_NOISE_LEVEL
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method, missed_tolerance
from tfxai.kernels import Density
from tfxai.methods.gradients.gradient import inner_method
from tfxai.methods.smoothing.smoothgrad import smoothgrad
from tfxai.methods.smoothing.weight_noise import noisy_weights, select_weights
from tfxai.models import named_layers

NOISE_TYPES = ("multiplicative", "additive")
NOISEGRAD_SIGMA = 0.2
"""The standard deviation of Bykov et al. 2022, for `epsilon` with the Gaussian kernel."""


@builder
def noisegrad(
    base: keras.Model,
    *,
    samples: int = 50,
    r: float = 0.01,
    confidence: float = 0.95,
    epsilon: float | None = None,
    kernel: Density = kernels.gaussian,
    noise: str = "multiplicative",
    biases: bool = True,
    statistics: bool = False,
    exclude: Sequence[str] = (),
    tolerance: float | None = None,
    max_samples: int = 1000,
    resolution: int = 28,
    score: Score = scores.logit,
) -> Method:
    """Explain by the mean of another explanation over models with noisy weights.

    M(x) = 1/N sum_k G(x; theta (1 + eps t_k)),  t ~ phi

    Args:
        base: a Keras model, whose gradient is averaged, or any explainer.
        samples: N, the number of models with noisy weights.
        r: eps t lies within [-r, r] with probability `confidence`.
        confidence: alpha in (0, 1).
        epsilon: instead of `r`: eps. Bykov et al. 2022 use ``tfxai.NOISEGRAD_SIGMA``, .2. This is
            39 times the eps of the default r = .01, which is the value of Zhou et al. 2024b
            (smoothing kernels).
        kernel: phi, as in `smoothgrad`.
        noise: "multiplicative", or "additive" for theta + eps t, in units of the weights.
        biases: whether biases, and the beta of normalisations, get noise.
        statistics: whether moving means and variances of normalisations get noise.
        exclude: names of layers whose weights get no noise.
        tolerance: as in `smoothgrad`.
        max_samples: as in `smoothgrad`.
        resolution: as in `smoothgrad`.
        score: what is explained of a model, (outputs, targets) -> ``[B]``; an explainer has its
            own.

    Returns:
        An Explainer with attributions of the same shape and units as those of `base`, and the
        diagnostics of `smoothgrad`. If no targets are given, they are the classes that the model
        predicts without noise. The model is never changed: its graph reads noisy tensors in place
        of its weights.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range, or no weights.

    Reference:
        Bykov et al. 2022, equation 4; Zhou et al. 2024b write the noisy parameters as
        theta - theta T (docs/methods.md, NoiseGrad and FusionGrad). The noise is
        drawn once for all examples of a batch. Frozen weights get noise like all others.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [3.0]])
        >>> maps = noisegrad(model, samples=2000)(keras.ops.ones((1, 2))).numpy()
        >>> maps.round(2)
        array([[2., 3.]], dtype=float32)
    """
    inner = inner_method(base, score)
    kernels.check("kernel", kernel)
    checks.one_of("noise", noise, NOISE_TYPES)
    epsilon_of_weights = kernels.epsilon(kernel, r, confidence)
    if epsilon is not None:
        epsilon_of_weights = checks.real("epsilon", epsilon, least=0)
    layers = checks.names("exclude", exclude)
    named_layers.check_layers(inner.model, layers)
    choose_variables = partial(
        select_weights, inner.model, biases=biases, statistics=statistics, exclude=layers
    )
    perturb = noisy_weights(
        choose_variables, kernel, epsilon_of_weights, multiply=noise == "multiplicative"
    )
    sampling_budget = budget(samples, tolerance, max_samples, resolution)

    def build(rows: int) -> Attribution:
        return sampled(
            over_weights(inner.build(rows), perturb),
            aggregators.mean(),
            sampling_budget,
            rows=1,
            like=inner.like,
            order=inner.order_of_maps,
        )

    return inner._replace(
        build=build,
        random=True,
        arrays_per_example=inner.arrays_per_example + ARRAYS_PER_EXAMPLE,
        warn=missed_tolerance(sampling_budget.tolerance),
    )


@builder
def fusiongrad(
    base: keras.Model,
    *,
    samples: tuple[int, int] = (50, 50),
    noise_level: float = DEFAULT_NOISE_LEVEL,
    input_epsilon: float | None = None,
    input_r: float | None = None,
    r: float = 0.01,
    confidence: float = 0.95,
    epsilon: float | None = None,
    kernel: Density = kernels.gaussian,
    noise: str = "multiplicative",
    biases: bool = True,
    statistics: bool = False,
    exclude: Sequence[str] = (),
    tolerance: float | None = None,
    max_samples: int = 1000,
    resolution: int = 28,
    score: Score = scores.logit,
) -> Method:
    """Explain by NoiseGrad of SmoothGrad: noise on the weights, and on the inputs of each model.

    M(x) = 1/(N M) sum_k sum_j G(x + eps' t_kj; theta (1 + eps t_k))

    Args:
        base: a Keras model, whose gradient is averaged, or any explainer.
        samples: (N models, M noisy inputs for each model).
        noise_level: for the noise on the input, as in `smoothgrad`.
        input_epsilon: for the noise on the input, as `epsilon` in `smoothgrad`.
        input_r: for the noise on the input, as `r` in `smoothgrad`.
        r: for the noise on the weights, as in `noisegrad`.
        confidence: alpha, for `r` and for `input_r`.
        epsilon: for the noise on the weights, as in `noisegrad`. The example of Bykov et al. 2022
            has .2, with ``input_epsilon=0.4``.
        kernel: phi, for the noise on the input and on the weights.
        noise: as in `noisegrad`.
        biases: as in `noisegrad`.
        statistics: as in `noisegrad`.
        exclude: as in `noisegrad`.
        tolerance: as in `smoothgrad`.
        max_samples: the most models that `tolerance` may take.
        resolution: as in `smoothgrad`.
        score: what is explained of a model, (outputs, targets) -> ``[B]``; an explainer has its
            own.

    Returns:
        An Explainer with attributions of the same shape and units as those of `base`, and the
        diagnostics of `smoothgrad`, where each model is one sample.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range, or no weights.

    Reference:
        Bykov et al. 2022, equation 5; Zhou et al. 2024b use 50 x 50 samples.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [3.0]])
        >>> maps = fusiongrad(model, samples=(1000, 2))(keras.ops.ones((1, 2))).numpy()
        >>> maps.round(2)
        array([[2., 3.]], dtype=float32)
    """
    if not isinstance(samples, tuple | list) or len(samples) != 2:
        raise TypeError(f"samples={samples!r}: expected a pair (models, inputs for each)")
    smoothed = smoothgrad(
        base,
        samples=samples[1],
        noise_level=noise_level,
        kernel=kernel,
        epsilon=input_epsilon,
        r=input_r,
        confidence=confidence,
        score=score,
    )
    return noisegrad(
        smoothed,
        samples=samples[0],
        r=r,
        confidence=confidence,
        epsilon=epsilon,
        kernel=kernel,
        noise=noise,
        biases=biases,
        statistics=statistics,
        exclude=exclude,
        tolerance=tolerance,
        max_samples=max_samples,
        resolution=resolution,
    ).method
