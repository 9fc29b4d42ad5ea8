"""NoiseGrad and FusionGrad (Bykov et al. 2022; paper 002): noise on the weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import keras

from tfxai import kernels
from tfxai.core import checks
from tfxai.core.types import Attribution
from tfxai.estimation import aggregators
from tfxai.estimation.accuracy import budget, sampled
from tfxai.estimation.estimate import over_weights
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method, missed_tolerance
from tfxai.kernels import Density
from tfxai.methods.gradients.gradient import inner_method
from tfxai.methods.smoothing.noisy_inputs import KEPT, NOISE_LEVEL
from tfxai.methods.smoothing.smoothgrad import smoothgrad
from tfxai.methods.smoothing.weight_noise import noisy, selected
from tfxai.models import named_layers

NOISES = ("multiplicative", "additive")
NOISEGRAD_SIGMA = 0.2
"""The NoiseGrad paper's standard deviation, for `epsilon` with the Gaussian kernel."""


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
) -> Method:
    """Explain by the mean of another explanation over models with noisy weights.

    M(x) = 1/N sum_k G(x; theta (1 + eps t_k)),  t ~ phi

    Args:
        base: a Keras model, whose gradient is averaged, or any explainer.
        samples: N models.
        r: eps t lies within [-r, r] with probability `confidence`.
        confidence: alpha in (0, 1).
        epsilon: instead of `r`: eps. The NoiseGrad paper has ``tfxai.NOISEGRAD_SIGMA``, .2, 39
            times more than paper 002's r = .01.
        kernel: phi, as in `smoothgrad`.
        noise: "multiplicative", or "additive" for theta + eps t, in units of the weights.
        biases: whether the weights that are added get noise, too.
        statistics: whether the moving means and variances of normalisations do.
        exclude: names of layers whose weights do not.
        tolerance: as in `smoothgrad`.
        max_samples: as in `smoothgrad`.
        resolution: as in `smoothgrad`.

    Returns:
        An Explainer with attributions like those of `base`. It reports as `smoothgrad`. Targets
        that are not given are the classes that the model itself predicts. The model is never
        changed: its graph reads noisy tensors in place of its weights.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range, or no weights.

    Reference:
        Bykov et al. 2022, eq. 4; paper 002's noise on the parameters theta - theta T (METHODS 3).
        The noise is drawn once for all examples of a batch. Frozen weights get it like others.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [3.0]])
        >>> maps = noisegrad(model, samples=2000)(keras.ops.ones((1, 2))).numpy()
        >>> maps.round(2)
        array([[2., 3.]], dtype=float32)
    """
    inner = inner_method(base)
    kernels.check("kernel", kernel)
    checks.one_of("noise", noise, NOISES)
    scale = kernels.epsilon(kernel, r, confidence)
    if epsilon is not None:
        scale = checks.real("epsilon", epsilon, least=0)
    layers = checks.names("exclude", exclude)
    named_layers.check_layers(inner.model, layers)
    chosen = partial(selected, inner.model, biases=biases, statistics=statistics, exclude=layers)
    perturb = noisy(chosen, kernel, scale, multiply=noise == "multiplicative")
    effort = budget(samples, tolerance, max_samples, resolution)

    def build(rows: int) -> Attribution:
        return sampled(
            over_weights(inner.build(rows), perturb),
            aggregators.mean(),
            effort,
            rows=1,
            like=inner.like,
            order=inner.inspector.order,
        )

    return inner._replace(
        build=build,
        random=True,
        arrays_per_example=inner.arrays_per_example + KEPT,
        warn=missed_tolerance(effort.tolerance),
    )


@builder
def fusiongrad(
    base: keras.Model,
    *,
    samples: tuple[int, int] = (50, 50),
    noise_level: float = NOISE_LEVEL,
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
) -> Method:
    """Explain by NoiseGrad of SmoothGrad: noise on the weights, and on the input of each.

    M(x) = 1/(N M) sum_k sum_j G(x + eps' t_kj; theta (1 + eps t_k))

    Args:
        base: a Keras model, whose gradient is averaged, or any explainer.
        samples: (N models, M inputs for each).
        noise_level: of the input, as in `smoothgrad`.
        input_epsilon: of the input, as `epsilon` of `smoothgrad`.
        input_r: of the input, as `r` of `smoothgrad`.
        r: of the weights, as in `noisegrad`.
        confidence: alpha, of both.
        epsilon: of the weights, as in `noisegrad`. The NoiseGrad paper's example has .2, with
            ``input_epsilon=0.4``.
        kernel: phi, of both.
        noise: as in `noisegrad`.
        biases: as in `noisegrad`.
        statistics: as in `noisegrad`.
        exclude: as in `noisegrad`.
        tolerance: as in `smoothgrad`.
        max_samples: as in `smoothgrad`; it counts models.
        resolution: as in `smoothgrad`.

    Returns:
        An Explainer with attributions like those of `base`. It reports as `smoothgrad`, with the
        models as samples.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range, or no weights.

    Reference:
        Bykov et al. 2022, eq. 5; paper 002 has 50 x 50 samples.

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
