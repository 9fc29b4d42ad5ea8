"""What an exported model does: functions that predict and explain, traced with their defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfxai.core import checks
from tfxai.core.types import Tensors
from tfxai.explaining.explainer import Explainer
from tfxai.models.heads import PREDICTED
from tfxai.serving.inputs import as_argument, by_name, of_argument

Prepare = Callable[[dict[str, tf.Tensor]], Tensors]
"""Maps what is served, by name, to what the model takes."""


def served_module(
    model: keras.Model,
    explainers: Mapping[str, Explainer],
    prepare: Prepare,
    signature: dict[str, tf.TensorSpec],
) -> tf.Module:
    """Give a module with the functions as `endpoints`, and the variables that they read.

    Each explainer is an attribute too, ``explain_<name>``: signatures of a loaded model are called
    with all their arguments, its functions know their defaults.
    """
    module = tf.Module()
    owned = {id(v): v.value for m in (model, *explainers.values()) for v in m.variables}
    module.owned = list(owned.values())

    def predict(inputs: Any) -> dict[str, tf.Tensor]:
        return by_name("outputs", model(prepare(of_argument(inputs)), training=False))

    module.endpoints = {"serving_default": _traced(predict, signature)}
    for name, explainer in explainers.items():
        function = _traced(_explaining(explainer, prepare), signature, targets=[None], seed=[])
        module.endpoints[f"explain_{name}"] = function
        setattr(module, f"explain_{name}", function)
    return module


def _explaining(explainer: Explainer, prepare: Prepare) -> Callable:
    # Defaults that are tensors are written into the signature, where servers find them.
    no_targets, no_seed = tf.zeros([0], tf.int32), tf.zeros([], tf.int32)

    def explain(
        inputs: Any, targets: tf.Tensor = no_targets, seed: tf.Tensor = no_seed
    ) -> dict[str, tf.Tensor]:
        ready = prepare(of_argument(inputs))
        rows = tf.shape(tf.nest.flatten(ready)[0])[0]
        found = explainer.measure(ready, _one_for_each(targets, rows), seed)
        return {
            **by_name("attributions", found.measured.attributions),
            "scores": found.scores,
            "targets": found.targets,
            **{
                k: v
                for name, n in found.measured.diagnostics.items()
                for k, v in by_name(name, n).items()
            },
        }

    return explain


def _one_for_each(targets: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Give targets ``[B]``: those given or, where there are none, the predicted classes."""
    count = tf.size(targets)
    fits = (count == rows) | (count == 0)
    known = checks.asserted(
        targets, fits, "targets: expected one for each example,", rows, "not", count
    )
    return tf.concat([known, tf.fill([tf.maximum(rows - count, 0)], PREDICTED)], 0)


def _traced(function: Callable, signature: dict[str, tf.TensorSpec], **asked: list) -> Any:
    """Give a function of the inputs, and of integers of the shapes that are asked for."""
    named = {n: tf.TensorSpec(s.shape, s.dtype, name=n) for n, s in signature.items()}
    integers = [tf.TensorSpec(shape, tf.int32, name=name) for name, shape in asked.items()]
    return tf.function(function, autograph=False, input_signature=[as_argument(named), *integers])
