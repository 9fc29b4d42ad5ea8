"""The functions of an exported model, which predict and explain, traced with their defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfxai.core import checks
from tfxai.explaining.explainer import Explainer
from tfxai.models.scored_models import PREDICTED
from tfxai.serving.inputs import Prepare, by_name, from_argument, to_argument


def served_module(
    model: keras.Model,
    explainers: Mapping[str, Explainer],
    prepare: Prepare,
    signature: dict[str, tf.TensorSpec],
) -> tf.Module:
    """Give a module with the functions as `endpoints`, and the variables that they read.

    Each explainer is an attribute ``explain_<name>`` as well, because a loaded model's attributes
    are functions that know their defaults, while its signatures need all arguments.

    Args:
        model: the model that predicts.
        explainers: explainers of the model, by name.
        prepare: from the inputs of a request to the model's.
        signature: the TensorSpecs of a request's inputs, by name.
    """
    module = tf.Module()
    variables = {id(v): v.value for m in (model, *explainers.values()) for v in m.variables}
    module.served_variables = list(variables.values())

    def predict(inputs: Any) -> dict[str, tf.Tensor]:
        return by_name("outputs", model(prepare(from_argument(inputs)), training=False))

    module.endpoints = {"serving_default": _traced(predict, signature, {})}
    for name, explainer in explainers.items():
        integers = {"targets": [None], "seed": []}
        function = _traced(_explain_function(explainer, prepare), signature, integers)
        module.endpoints[f"explain_{name}"] = function
        setattr(module, f"explain_{name}", function)
    return module


def _explain_function(explainer: Explainer, prepare: Prepare) -> Callable:
    # Defaults that are tensors are written into the signature, where servers find them.
    no_targets, no_seed = tf.zeros([0], tf.int32), tf.zeros([], tf.int32)

    def explain(
        inputs: Any, targets: tf.Tensor = no_targets, seed: tf.Tensor = no_seed
    ) -> dict[str, tf.Tensor]:
        model_inputs = prepare(from_argument(inputs))
        rows = tf.shape(tf.nest.flatten(model_inputs)[0])[0]
        answer = explainer.answer(model_inputs, _complete_targets(targets, rows), seed)
        return {
            **by_name("attributions", answer.attributions),
            "scores": answer.scores,
            "targets": answer.targets,
            **{
                key: values
                for name, diagnostic in answer.diagnostics.items()
                for key, values in by_name(name, diagnostic).items()
            },
        }

    return explain


def _complete_targets(targets: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Give the targets ``[B]`` if there are any, and the predicted classes if there are none."""
    count = tf.size(targets)
    fits = (count == rows) | (count == 0)
    checked = checks.asserted(
        targets, fits, "targets: expected one for each example,", rows, "not", count
    )
    return tf.concat([checked, tf.fill([tf.maximum(rows - count, 0)], PREDICTED)], 0)


def _traced(
    function: Callable, signature: dict[str, tf.TensorSpec], integers: dict[str, list]
) -> Any:
    """Give a tf.function of the inputs, and of integers with these names and shapes."""
    specs = {n: tf.TensorSpec(s.shape, s.dtype, name=n) for n, s in signature.items()}
    more = [tf.TensorSpec(shape, tf.int32, name=name) for name, shape in integers.items()]
    return tf.function(function, autograph=False, input_signature=[to_argument(specs), *more])
