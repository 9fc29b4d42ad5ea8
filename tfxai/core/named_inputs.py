"""Inputs in the structure that a model declares: dicts by name, lists in the order of its inputs.

A name is a dict's key; where the model declares a list, it is that of the `keras.Input`. Keras
drops names that it does not know; here every name is needed, and none else is taken.
"""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfxai.core.types import Tensors


def arranged(values: Tensors, declared: Tensors | None, *, name: str = "inputs") -> Tensors:
    """Give the values of a structure in the structure that a model declares.

    Args:
        values: a dict, list or tuple of leaves of any kind, or one leaf.
        declared: TensorSpecs with names; None for a model that declares nothing.
        name: the argument, for messages.

    Raises:
        TypeError: a name that is missing, unknown or misspelt; another number of inputs; or a
            list for a dict that Keras does not take one for.

    Example:
        >>> specs = [tf.TensorSpec([None, 2], name=n) for n in ("zz", "aa")]
        >>> arranged({"aa": "last", "zz": "first"}, specs)
        ['first', 'last']
    """
    if declared is None:
        return values
    if isinstance(declared, dict):
        return _as_dict(values, declared, name)
    if isinstance(declared, list | tuple):
        return _as_list(values, declared, name)
    if isinstance(values, dict):
        _compare(values, [declared.name], name)
        return values[declared.name]
    if isinstance(values, list | tuple):
        if len(values) != 1:
            raise _other_structure(values, declared, name)
        return arranged(values[0], declared, name=name)
    return values


def as_given(values: Tensors, given: Tensors, declared: Tensors | None) -> Tensors:
    """Give values, one for each declared input, in the structure that the inputs came in.

    The inverse of `arranged`. Another number of values than inputs is given back as it is.
    """
    flat = tf.nest.flatten(values)
    count = len(tf.nest.flatten(given))
    if len(flat) != count:
        return values
    places = tf.nest.flatten(arranged(tf.nest.pack_sequence_as(given, range(count)), declared))
    in_order = [value for _, value in sorted(zip(places, flat, strict=True), key=lambda p: p[0])]
    return tf.nest.pack_sequence_as(given, in_order)


def check_names(values: dict[str, Any], inputs: Tensors, name: str) -> None:
    """Raise a TypeError for a dict whose names are not those of inputs, or that have none."""
    if not isinstance(inputs, dict):
        raise _other_structure(values, inputs, name)
    _compare(values, list(inputs), name)


def leaves(values: Tensors) -> Iterator[tuple[tuple, Any]]:
    """Give the leaves of a structure with their paths, in the order of `tf.nest.flatten`.

    Dicts go by their sorted keys, whatever the order they were made in.

    Example:
        >>> list(leaves({"zz": [1, 2], "aa": 3}))
        [(('aa',), 3), (('zz', 0), 1), (('zz', 1), 2)]
    """
    if isinstance(values, dict):
        inside = [(key, values[key]) for key in sorted(values)]
    elif isinstance(values, list | tuple):
        inside = list(enumerate(values))
    else:
        yield (), values
        return
    for key, part in inside:
        for path, leaf in leaves(part):
            yield (key, *path), leaf


def _as_dict(values: Any, declared: dict[str, Any], name: str) -> dict[str, Any]:
    if isinstance(values, list | tuple) and len(values) == len(declared):
        if list(declared) != sorted(declared):
            raise TypeError(
                f"{name}: the model declares a dict with the keys {_quoted(declared)}, whose order "
                f"is no alphabetical one, so that a {type(values).__name__} would be ambiguous; "
                f"pass a dict"
            )
        values = dict(zip(declared, values, strict=True))
    if not isinstance(values, dict):
        raise _other_structure(values, declared, name)
    _compare(values, list(declared), name)
    parts = [(k, arranged(values[k], p, name=f"{name}[{k!r}]")) for k, p in declared.items()]
    # Keras takes an OrderedDict where one is declared, and gives a plain dict another order.
    return OrderedDict(parts) if isinstance(declared, OrderedDict) else dict(parts)


def _as_list(values: Any, declared: list | tuple, name: str) -> list | tuple:
    flat = all(isinstance(part, tf.TensorSpec) for part in declared)
    if isinstance(values, dict) and flat:
        names = [part.name for part in declared]
        _compare(values, names, name)
        values = [values[n] for n in names]
    if not isinstance(values, list | tuple) or len(values) != len(declared):
        raise _other_structure(values, declared, name)
    parts = zip(values, declared, strict=True)
    return type(declared)(
        [arranged(value, part, name=f"{name}[{i}]") for i, (value, part) in enumerate(parts)]
    )


def _compare(values: dict[str, Any], expected: list[str], name: str) -> None:
    missing = [n for n in expected if n not in values]
    unknown = [n for n in values if n not in expected]
    if not missing and not unknown:
        return
    problems = []
    for n in unknown:
        close = difflib.get_close_matches(str(n), missing or expected, 1, 0.5)
        problems.append(f"{n!r} is none of them" + (f", perhaps {close[0]!r}?" if close else ""))
    problems += [f"{n!r} is missing" for n in missing]
    raise TypeError(
        f"{name}: expected a dict with the keys {_quoted(expected)}, as the model declares them, "
        f"got {_quoted(values)}: {'; '.join(problems)}"
    )


def _other_structure(values: Any, declared: Tensors, name: str) -> TypeError:
    return TypeError(
        f"{name}: expected {_described(declared)}, as the model declares them, got "
        f"{_described(values)}"
    )


def _described(values: Tensors) -> str:
    if isinstance(values, dict):
        return f"a dict with the keys {_quoted(values)}"
    if isinstance(values, list | tuple):
        return f"a {type(values).__name__} of {len(values)}"
    return "one array"


def _quoted(names: Any) -> str:
    return ", ".join(map(repr, names))
