"""What CAFO and CASO share: their options, lambda1, and what they report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import keras
import tensorflow as tf

from tfxai import kernels, scores
from tfxai.core import batch, checks
from tfxai.core.axes import Order
from tfxai.core.map_checks import solver_warnings
from tfxai.core.types import Attribution, Result, Tensors
from tfxai.estimation import samplers
from tfxai.explaining.method import Method
from tfxai.methods.second_order.curvature import Loss
from tfxai.methods.second_order.proximal import Problem
from tfxai.methods.second_order.sparsity import just_sparse_enough, sparse_enough, sparsity
from tfxai.models import heads
from tfxai.models.model_info import ModelInspector

SEARCHES = {"auto": sparse_enough, "bisect": just_sparse_enough}


def check_options(
    lambda1: float | str, lambda2: float | None, samples: int, noise_level: float
) -> None:
    """Check the options that both have."""
    if not isinstance(lambda1, str):
        checks.real("lambda1", lambda1, least=0)
    elif lambda1 not in SEARCHES:
        raise ValueError(f"lambda1={lambda1!r}: expected a number, 'auto' or 'bisect'")
    if lambda2 is not None:
        checks.real("lambda2", lambda2, above=0)
    checks.positive_integer("samples", samples)
    checks.real("noise_level", noise_level, least=0)


def loss_of(model: keras.Model, samples: int, noise_level: float, rows: int) -> Loss:
    """Give the loss of a model, over noisy inputs if there is more than one sample."""
    noise = samplers.noise(kernels.gaussian, samplers.relative(noise_level))
    return Loss(heads.classifier(model), noise if samples > 1 else None, samples, rows)


def lambda1_of(
    lambda1: float | str,
    solve: Callable[[tf.Tensor], tf.Tensor],
    linear: tf.Tensor,
    inputs: Tensors,
    order: Order,
) -> tf.Tensor:
    """Give lambda1 of each example, ``[B, 1]``."""
    if isinstance(lambda1, str):
        share = partial(sparsity, inputs=inputs, order=order)
        return SEARCHES[lambda1](solve, linear, share)[:, None]
    return tf.fill([tf.shape(linear)[0], 1], tf.constant(lambda1, linear.dtype))


def result_of(
    inputs: Tensors,
    order: Order,
    delta: tf.Tensor,
    problem: Problem,
    value: tf.Tensor,
    diagnostics: dict[str, tf.Tensor],
) -> Result:
    """Give the maps of a problem's solution, with its diagnostics and the method's own."""
    common = {
        "lambda1": problem.lambda1[:, 0],
        "lambda2": problem.lambda2[:, 0],
        "sparsity": sparsity(delta, inputs, order)[:, 0],
        "objective": value[:, 0],
    }
    return Result(batch.from_rows(delta[:, 0], inputs), {**common, **diagnostics})


def method_of(
    inspector: ModelInspector,
    build: Callable[[int], Attribution],
    samples: int,
    *,
    arrays_per_example: int,
    rows_per_sample: int,
    solves: bool = False,
) -> Method:
    """Give the method of an attribution.

    Args:
        inspector: of the model with its preprocessing.
        build: rows that may be differentiated at once -> the attribution.
        samples: of the noise.
        arrays_per_example: as in `Method`.
        rows_per_sample: how many rows the method makes of each noisy example at a time.
        solves: whether it reports how far its solution is from the optimum, as ``residual``.
    """
    return Method(
        inspector,
        build,
        scores.cross_entropy,
        random=samples > 1,
        arrays_per_example=arrays_per_example,
        rows_per_example=samples * rows_per_sample,
        if_constant="lambda1 leaves nothing of them; lower it, or let lambda1='bisect' choose",
        warn=(lambda record: solver_warnings(record.diagnostics)) if solves else None,
    )
