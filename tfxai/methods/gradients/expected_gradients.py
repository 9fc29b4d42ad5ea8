"""Expected gradients (Erion et al. 2021)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai import scores
from tfxai.baselines import baseline as as_baseline
from tfxai.core import checks
from tfxai.core.types import Attribution, Score
from tfxai.estimation import aggregators, samplers
from tfxai.estimation.accuracy import budget, sampled
from tfxai.estimation.estimate import gradient_of, over_inputs
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method, missed_tolerance
from tfxai.models.model_info import ModelInspector


@builder
def expected_gradients(
    model: keras.Model,
    baselines: Any,
    *,
    samples: int = 50,
    tolerance: float | None = None,
    max_samples: int = 1000,
    resolution: int = 28,
    score: Score = scores.logit,
) -> Method:
    r"""Explain by integrated gradients in expectation over baselines and positions.

    phi_i = E[ (x_i - x'_i) d f(x' + alpha (x - x')) / d x_i ],  x' ~ baselines, alpha ~ U(0, 1)

    Args:
        model: a Keras model with one output.
        baselines: ``[R, ...]`` examples to compare with, e.g. a part of the training data; for a
            model with several inputs, arrays in the structure of the inputs. Or a function
            inputs -> references ``[R, B, ...]``, R for each example (`tfxai.baselines.baseline`).
        samples: number of draws of (x', alpha).
        tolerance: as in `smoothgrad`.
        max_samples: as in `smoothgrad`.
        resolution: as in `smoothgrad`.
        score: what is explained, (outputs, targets) -> ``[B]``.

    Returns:
        An Explainer with attributions of the inputs' shape, in units of the score. Their sum has
        the expectation f(x) - E f(x'). The diagnostics are those of `smoothgrad`.

    Raises:
        ValueError: `baselines` is empty, not finite or does not have the inputs' shape.

    Reference:
        Erion et al. 2021, equation 3; alpha is drawn anew for each reference (docs/methods.md,
        Expected gradients). The examples of a batch share the draws, so that a map depends on
        its input and the seed alone.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [3.0]])
        >>> expected_gradients(model, np.zeros([5, 2]))(tf.constant([[1.0, 2.0]])).numpy().round(4)
        array([[2., 6.]], dtype=float32)
    """
    sampling_budget = budget(samples, tolerance, max_samples, resolution)
    inspector = ModelInspector(checks.model(model))
    checked_baselines = baselines if callable(baselines) else _examples(baselines)
    declared_baselines = inspector.as_declared("baselines", checked_baselines)
    references = as_baseline(declared_baselines, argument="baselines")
    score_gradient = gradient_of(model, score)

    def build(rows: int) -> Attribution:
        evaluate = over_inputs(score_gradient, samplers.random_line(references))
        return sampled(
            evaluate, aggregators.mean(), sampling_budget, rows=rows, order=inspector.order
        )

    return Method(
        inspector,
        build,
        score,
        random=True,
        arrays_per_example=12,
        rows_per_example=samples,
        warn=missed_tolerance(sampling_budget.tolerance),
    )


def _examples(baselines: Any) -> Any:
    """Give the baselines as arrays ``[R, ...]``, or raise a ValueError."""
    arrays = tf.nest.map_structure(np.asarray, baselines)
    for array in tf.nest.flatten(arrays):
        if array.ndim < 2 or len(array) == 0:
            raise ValueError(
                f"baselines: expected examples [R, ...], got shape {list(array.shape)}"
            )
    return arrays
