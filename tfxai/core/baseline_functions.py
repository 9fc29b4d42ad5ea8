"""Baselines that a user's function computes: a reference of its own for each example.

A method calls the function in its graph, in the type that it works in, on the very examples that
it explains: on a part of a batch at a time, and on the noisy copies of an explanation that is
smoothed. So a reference may depend on nothing but its own example.
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

ARGUMENTS = ("baseline", "baselines")
"""What the builders call the options that may be such a function."""


def savable(options: dict[str, Any]) -> dict[str, Any]:
    """Give a builder's options back, if a file could find their functions again.

    Raises:
        ValueError: a baseline is a function that is not registered with Keras.
    """
    for argument in ARGUMENTS:
        function = options.get(argument)
        if callable(function) and not _is_registered(function):
            raise ValueError(
                f"{argument}={name_of(function)} cannot be saved: a file keeps a function by its "
                "name. Write it with def (or as a class with get_config and from_config), under "
                "@keras.saving.register_keras_serializable()"
            )
    return options


def name_of(function: Callable) -> str:
    """Give the name that messages and settings have for a function."""
    return getattr(function, "__name__", None) or type(function).__name__


def checked(
    function: Callable[[Tensors], Any], argument: str = "baseline"
) -> Callable[[Tensors], Tensors]:
    """Make a baseline of a function, which is checked wherever it is called.

    Args:
        function: inputs ``[B, ...]`` -> references of the same structure, ``[B, ...]`` or, R for
            each example, ``[R, B | 1, ...]``; axes of an example may be 1.
        argument: what messages call it.
    """
    called = f"{argument}={name_of(function)}"

    def references(inputs: Tensors) -> Tensors:
        try:
            result = function(inputs)
        except (NotImplementedError, AttributeError, tf.errors.OperatorNotAllowedInGraphError) as e:
            if tf.executing_eagerly():
                raise
            raise ValueError(
                f"{called} is called in a graph: write it with TensorFlow's operations or "
                "keras.ops, or call numpy code by tf.ensure_shape(tf.numpy_function(code, [x], "
                f"x.dtype), x.shape). It failed with: {e}"
            ) from e
        try:
            tf.nest.assert_same_structure(inputs, result)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{called}: expected the structure of its inputs. {error}") from error
        return tf.nest.map_structure(partial(_fitted, called), inputs, result)

    return references


def _fitted(called: str, x: tf.Tensor, result: Any) -> tf.Tensor:
    """Give references for inputs ``[B, ...]`` as finite ``[R, B | 1, ...]`` of their type."""
    tensor = tf.convert_to_tensor(result)
    if not (tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool):
        raise ValueError(f"{called} gives {tensor.dtype.name}: expected numbers")
    own = tensor.shape.rank == x.shape.rank
    references = tf.cast(tensor[None] if own else tensor, x.dtype)
    got = references.shape.as_list() if references.shape.rank == x.shape.rank + 1 else None
    if got is None or not got[0] or not _fits(got[1:], x.shape.as_list(), shared=not own):
        raise ValueError(
            f"{called} gives {tensor.shape} for inputs {x.shape}: expected a reference of each "
            "example, computed from it and of the same shape; or R of each, [R, batch, ...], with "
            "a fixed R. tf.ensure_shape states a shape that TensorFlow does not know"
        )
    sizes = tf.shape(references)[1:]
    may_be_one = [not own] + [True] * (len(got) - 2)
    fits = tf.equal(sizes, tf.shape(x)) | (tf.equal(sizes, 1) & may_be_one)
    references = _required(references, fits, f"{called}: expected a reference for each example")
    finite = tf.math.is_finite(references)
    return _required(references, finite, f"{called} gives NaN or infinite values")


def _fits(got: list[int | None], wanted: list[int | None], *, shared: bool) -> bool:
    """Whether a shape may be that of references, one for each example (or shared by all).

    A fixed number of references, whatever the batch, would be those of other examples as soon as
    a batch is explained in parts.
    """
    first = got[0] is None or got[0] == wanted[0] or (shared and got[0] == 1)
    return first and all(
        g in (None, 1, w) or w is None for g, w in zip(got[1:], wanted[1:], strict=True)
    )


def _required(value: tf.Tensor, condition: tf.Tensor, message: str) -> tf.Tensor:
    if not tf.executing_eagerly():
        return checks.asserted(value, condition, message)
    if not tf.reduce_all(condition):
        raise ValueError(message)
    return value


def _is_registered(function: Callable) -> bool:
    """Whether Keras finds it, or its class, by name; it would find a layer without its weights."""
    plain = isinstance(function, types.FunctionType)
    known = function if plain else type(function)
    name = keras.saving.get_registered_name(known)
    if keras.saving.get_registered_object(name) is None or isinstance(function, keras.Layer):
        return False
    return known.__name__ != "<lambda>" if plain else hasattr(known, "from_config")
