"""Checks of what users pass; each error names the argument, the value and the remedy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import synonyms
from tfxai.core.named_inputs import as_declared, flatten_with_paths
from tfxai.core.types import Tensors


def positive_integer(name: str, value: Any, *, least: int = 1) -> int:
    """Give an integer that is at least `least`, or raise."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}={value!r}: expected an integer, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name}={value}: expected at least {least}")
    return int(value)


def real(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
) -> float:
    """Give a finite number within open or closed bounds as a float, or raise."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}={value!r}: expected a number, not {type(value).__name__}")
    too_small = (above is not None and value <= above) or (least is not None and value < least)
    too_large = below is not None and float(value) >= below
    if too_small or too_large or not math.isfinite(value):
        bounds = [f"above {above}"] if above is not None else []
        bounds += [f"at least {least}"] if least is not None else []
        bounds += [f"below {below}"] if below is not None else []
        raise ValueError(
            f"{name}={value}: expected a finite number {' and '.join(bounds)}".rstrip()
        )
    return float(value)


def names(name: str, values: Any) -> list[str]:
    """Give names as a list, or raise."""
    if isinstance(values, str) or not all(isinstance(v, str) for v in values):
        raise TypeError(f"{name}={values!r}: expected a list of names")
    return list(values)


def one_of(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """Give the value if it is one of those allowed, or raise."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(map(repr, allowed))}")
    return value


def model(value: Any) -> keras.Model:
    """Give the value if it is a Keras model, such as an explainer, or raise."""
    if not isinstance(value, keras.Model):
        raise TypeError(
            f"model: expected a keras.Model, got {type(value).__name__}; load a .keras file with "
            "keras.saving.load_model"
        )
    return value


def inputs(values: Tensors, specs: Tensors | None) -> None:
    """Check concrete inputs by themselves, and against the TensorSpecs that a model declares.

    Args:
        values: the inputs, as they were given.
        specs: what the model declares; None if it declares nothing.

    Raises:
        TypeError: the inputs are not numbers, or their names or structure are not the model's.
        ValueError: a shape is not the model's, a batch is empty, the inputs have different numbers
            of examples, or a value is NaN or infinite.
    """
    named = named_leaves(values)
    leaf_names = tf.nest.pack_sequence_as(values, [name for name, _ in named])
    in_declared_order = tf.nest.flatten(as_declared(leaf_names, specs))
    flat_specs = tf.nest.flatten(specs) if specs is not None else [None] * len(named)
    spec_of = dict(zip(in_declared_order, flat_specs, strict=True))
    for name, value in named:
        _check_array(name, np.asarray(value), spec_of[name])
    sizes = {name: np.shape(value)[0] for name, value in named}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"inputs: all need the same number of examples, got {sizes}")


def named_leaves(values: Tensors) -> list[tuple[str, Any]]:
    """Give the tensors of a structure with the names that messages use: inputs, inputs['image']."""
    return [
        ("inputs" + "".join(f"[{key!r}]" for key in path), leaf)
        for path, leaf in flatten_with_paths(values)
    ]


def targets(
    values: Any, count: int, classes: int | None, names: Sequence[str] | None
) -> np.ndarray:
    """Turn class indices or names, one for all examples or one each, into int32 ``[count]``.

    Args:
        values: one class or ``[count]`` of them.
        count: the number of examples.
        classes: the number of classes; None for any number.
        names: the names of the classes, if they are known.

    Raises:
        TypeError: the values are neither integers nor names.
        ValueError: a name is unknown, the count is wrong, or an index is out of range.
    """
    array = np.asarray(values)
    if array.dtype.kind in "US":
        array = np.vectorize(lambda n: class_index(str(n), names))(array)
    if array.dtype == object and isinstance(values, int):
        raise ValueError(f"targets: {values} is out of range, no model has so many classes")
    if array.dtype.kind not in "iu":
        raise TypeError(f"targets: expected class indices or names, got {array.dtype} values")
    if array.shape not in ((), (count,)):
        raise ValueError(
            f"targets has shape {list(array.shape)}: expected one target or [{count}], one for "
            "each example"
        )
    outside = array[(array < 0) | (array >= classes)] if classes is not None else array[array < 0]
    if outside.size:
        allowed = "0 or more" if classes is None else f"0 to {classes - 1}" if classes > 1 else "0"
        raise ValueError(f"targets: {outside.flat[0]} is out of range, expected {allowed}")
    return np.broadcast_to(array, [count]).astype(np.int32)


def class_index(name: str, names: Sequence[str] | None) -> int:
    """Give the index of a class by its name, by one of its synonyms, or by a unique part of them.

    Synonyms of one class are separated by ", ", as in ImageNet's names.
    """
    if names is None:
        raise ValueError(
            f"targets: {name!r} is a name, but the class names are not known; set "
            "model.class_names to a list, or pass the index"
        )
    wanted = name.lower()
    exact = [i for i, n in enumerate(names) if wanted in (n.lower(), *n.lower().split(", "))]
    matches = exact or [i for i, n in enumerate(names) if wanted in n.lower()]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        hint = synonyms.hint(name, [part for n in names for part in n.split(", ")])
        raise ValueError(f"targets: no class is called {name!r}{hint}")
    first = ", ".join(f"{i} {names[i]!r}" for i in matches[:5])
    raise ValueError(f"targets: {name!r} is the name of several classes ({first}); use an index")


def not_probabilities(outputs: np.ndarray) -> None:
    """Raise a ValueError if all rows of outputs ``[B, C]`` sum to 1, where logits are needed.

    Rows that are not finite do not count.
    """
    finite = outputs[np.isfinite(outputs).all(-1)].astype(np.float64)
    if len(finite) and (finite >= 0).all() and np.allclose(finite.sum(-1), 1, atol=1e-3):
        raise ValueError(
            "The model's outputs are probabilities, but no softmax operation was found before "
            "them, so there are no logits to explain. Give a model that ends in the logits or in "
            "a softmax layer, or pass `score=` a function of the outputs, e.g. "
            "lambda outputs, targets: tf.math.log(tf.gather(outputs, targets, batch_dims=1))."
        )


def seed(value: Any) -> tf.Tensor:
    """Give an integer, or a tensor or array of one or two, as a stateless seed ``[2]``."""
    if tf.is_tensor(value) or isinstance(value, np.ndarray):
        pair = tf.cast(value, tf.int32)
        return pair if pair.shape.rank == 1 else tf.stack([pair, 0])
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"seed={value!r}: expected an integer")
    if abs(int(value)) >= 2**31:
        raise ValueError(f"seed={value}: expected an integer of 32 bits")
    return tf.constant([int(value), 0], tf.int32)


def asserted(value: tf.Tensor, condition: tf.Tensor, *message: Any) -> tf.Tensor:
    """Give the tensor, such that its evaluation fails with the message unless the condition holds.

    Outside of a graph this is a ValueError; `assertions_as_errors` makes one of the failure in a
    graph.
    """
    if tf.executing_eagerly():
        if not tf.reduce_all(condition):
            raise ValueError(" ".join(str(m.numpy() if tf.is_tensor(m) else m) for m in message))
        return value
    assertion = tf.debugging.Assert(tf.reduce_all(condition), list(message))
    with tf.control_dependencies([] if assertion is None else [assertion]):
        return tf.identity(value)


@contextmanager
def assertions_as_errors(name: str) -> Iterator[None]:
    """Turn an assertion that fails in a graph into a ValueError: the name, and its message."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        failed = re.search(r"assertion failed: \[(.*?)\](.*)", str(error))
        if failed is None:
            raise
        raise ValueError(f"{name}: {failed[1]}{failed[2]}") from None


def _check_array(name: str, value: np.ndarray, spec: tf.TensorSpec | None) -> None:
    if value.dtype.kind not in "fiub" and value.dtype.name != "bfloat16":
        raise TypeError(f"{name}: expected numbers, got {value.dtype} values")
    expected = [None] if spec is None else list(spec.shape)
    wrong_rank = value.ndim == 0 if spec is None else value.ndim != len(expected)
    if wrong_rank or any(e not in (None, n) for e, n in zip(expected, value.shape, strict=False)):
        wanted = ", ".join("any" if e is None else str(e) for e in expected[1:])
        hint = ""
        if value.ndim == len(expected) - 1:
            hint = "; add the batch axis: x[None], or batch the dataset: dataset.batch(32)"
        raise ValueError(f"{name} has shape {list(value.shape)}, expected [batch, {wanted}]{hint}")
    if value.shape[0] == 0:
        raise ValueError(f"{name} is an empty batch, shape {list(value.shape)}")
    finite = np.isfinite(value)
    if not finite.all():
        bad = np.argwhere(~finite)
        raise ValueError(
            f"{name} has {len(bad)} NaN or infinite values, the first at {bad[0].tolist()}"
        )
