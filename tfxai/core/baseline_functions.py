"""Baselines that a user's function computes: each example gets references of its own.

A method calls the function within its own graph, in the data type that it computes in, on the
examples that it explains. These may be a part of a batch, or the noisy copies that a smoothed
explanation makes. A reference may therefore depend on nothing but its own example.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from tfxai.core import checks
from tfxai.core.types import Tensors

BASELINE_OPTIONS = ("baseline", "baselines")
"""Names of the builders' options that may be a function of the inputs."""


def savable(options: dict[str, Any]) -> dict[str, Any]:
    """Give a builder's options back if they can be saved.

    Raises:
        ValueError: a baseline is a function that is not registered with Keras, so that a loaded
            file could not find it by its name.
    """
    for argument in BASELINE_OPTIONS:
        function = options.get(argument)
        if callable(function) and not _is_registered(function):
            raise ValueError(
                f"{argument}={name_of(function)} cannot be saved: a file keeps a function by its "
                "name. Write it with def (or as a class with get_config and from_config), under "
                "@keras.saving.register_keras_serializable()"
            )
    return options


def name_of(function: Callable) -> str:
    """Give the name of a function, as messages and settings show it."""
    return getattr(function, "__name__", None) or type(function).__name__


def checked(
    function: Callable[[Tensors], Any], argument: str = "baseline"
) -> Callable[[Tensors], Tensors]:
    """Make a baseline of a user's function, and check its results at every call.

    Args:
        function: inputs ``[B, ...]`` -> references in the same structure: one for each example,
            ``[B, ...]``, or R for each example, ``[R, B, ...]`` (``[R, 1, ...]`` if all examples
            share them). Axes within an example may have length 1.
        argument: the option's name, for messages.
    """
    label = f"{argument}={name_of(function)}"

    def references(inputs: Tensors) -> Tensors:
        try:
            result = function(inputs)
        except (NotImplementedError, AttributeError, tf.errors.OperatorNotAllowedInGraphError) as e:
            if tf.executing_eagerly():
                raise
            raise ValueError(
                f"{label} is called in a graph: write it with TensorFlow's operations or "
                "keras.ops, or call numpy code by tf.ensure_shape(tf.numpy_function(code, [x], "
                f"x.dtype), x.shape). It failed with: {e}"
            ) from e
        try:
            tf.nest.assert_same_structure(inputs, result)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{label}: expected the structure of its inputs. {error}") from error
        return tf.nest.map_structure(partial(_fitted, label), inputs, result)

    return references


def _fitted(label: str, x: tf.Tensor, result: Any) -> tf.Tensor:
    """Give the function's result for inputs ``[B, ...]`` as finite references ``[R, B | 1, ...]``.

    They have the inputs' data type. `label` names the function in messages.
    """
    tensor = tf.convert_to_tensor(result)
    if not (tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool):
        raise ValueError(f"{label} gives {tensor.dtype.name}: expected numbers")
    has_reference_axis = tensor.shape.rank != x.shape.rank
    references = tf.cast(tensor if has_reference_axis else tensor[None], x.dtype)
    shape = references.shape.as_list() if references.shape.rank == x.shape.rank + 1 else None
    if (
        shape is None
        or not shape[0]
        or not _fits(shape[1:], x.shape.as_list(), may_share=has_reference_axis)
    ):
        raise ValueError(
            f"{label} gives {tensor.shape} for inputs {x.shape}: expected a reference of each "
            "example, computed from it and of the same shape; or R of each, [R, batch, ...], with "
            "a fixed R. tf.ensure_shape states a shape that TensorFlow does not know"
        )
    sizes = tf.shape(references)[1:]
    may_be_one = [has_reference_axis] + [True] * (len(shape) - 2)
    fits = tf.equal(sizes, tf.shape(x)) | (tf.equal(sizes, 1) & may_be_one)
    message = f"{label}: expected a reference for each example"
    references = checks.asserted(references, fits, message)
    finite = tf.math.is_finite(references)
    return checks.asserted(references, finite, f"{label} gives NaN or infinite values")


def _fits(shape: list[int | None], inputs_shape: list[int | None], *, may_share: bool) -> bool:
    """Whether a shape holds a reference for each example, or, if `may_share`, one for all.

    A number of references that does not follow the size of the batch is refused: as soon as the
    batch is explained in parts, they would be the references of other examples.
    """
    first = shape[0] is None or shape[0] == inputs_shape[0] or (may_share and shape[0] == 1)
    return first and all(
        size in (None, 1, wanted) or wanted is None
        for size, wanted in zip(shape[1:], inputs_shape[1:], strict=True)
    )


def _is_registered(function: Callable) -> bool:
    """Whether Keras can find the function, or the class of a callable object, by its name.

    A layer is refused: Keras would find it, but without its weights.
    """
    is_function = isinstance(function, types.FunctionType)
    registered = function if is_function else type(function)
    name = keras.saving.get_registered_name(registered)
    if keras.saving.get_registered_object(name) is None or isinstance(function, keras.Layer):
        return False
    return registered.__name__ != "<lambda>" if is_function else hasattr(registered, "from_config")
