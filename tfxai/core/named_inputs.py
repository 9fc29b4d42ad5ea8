"""Inputs in the structure that a model declares: dicts by name, lists in the order of its inputs.

The name of an input is its key where the model declares a dict, and the name of its `keras.Input`
where the model declares a list. Keras drops names that it does not know; here every name is needed,
and any other name is refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from tfxai.core.synonyms import similar_names
from tfxai.core.types import Tensors


def as_declared(values: Tensors, declared: Tensors | None, *, name: str = "inputs") -> Tensors:
    """Give the values of a structure in the structure that a model declares.

    Args:
        values: a dict, list or tuple of leaves of any kind, or one leaf.
        declared: TensorSpecs with names; None for a model that declares nothing.
        name: the argument's name, for messages.

    Raises:
        TypeError: a name is missing, unknown or misspelt; the number of inputs is another one; or
            a list is given for a dict in whose place Keras takes none.

    Example:
        >>> specs = [tf.TensorSpec([None, 2], name=n) for n in ("zz", "aa")]
        >>> as_declared({"aa": "last", "zz": "first"}, specs)
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
        return as_declared(values[0], declared, name=name)
    return values


def as_given(values: Tensors, given: Tensors, declared: Tensors | None) -> Tensors:
    """Give values, one for each declared input, in the structure in which the inputs were given.

    This is the inverse of `as_declared`. Values that are not one for each input are returned
    unchanged.
    """
    flat = tf.nest.flatten(values)
    count = len(tf.nest.flatten(given))
    if len(flat) != count:
        return values
    places = tf.nest.flatten(as_declared(tf.nest.pack_sequence_as(given, range(count)), declared))
    in_order = [value for _, value in sorted(zip(places, flat, strict=True), key=lambda p: p[0])]
    return tf.nest.pack_sequence_as(given, in_order)


def check_names(values: dict[str, Any], inputs: Tensors, name: str) -> None:
    """Raise a TypeError for a dict whose names are not those of the inputs."""
    if not isinstance(inputs, dict):
        raise _other_structure(values, inputs, name)
    _compare(values, list(inputs), name)


def flatten_with_paths(values: Tensors) -> Iterator[tuple[tuple, Any]]:
    """Yield the leaves of a structure with their paths, in the order of `tf.nest.flatten`.

    The keys of a dict are sorted, whatever the order in which it was made.

    Example:
        >>> list(flatten_with_paths({"zz": [1, 2], "aa": 3}))
        [(('aa',), 3), (('zz', 0), 1), (('zz', 1), 2)]
    """
    if isinstance(values, dict):
        children = [(key, values[key]) for key in sorted(values)]
    elif isinstance(values, list | tuple):
        children = list(enumerate(values))
    else:
        yield (), values
        return
    for key, child in children:
        for path, leaf in flatten_with_paths(child):
            yield (key, *path), leaf


def leaf_names(inputs: Tensors, declared: Tensors | None) -> list[Any]:
    """Give the names of inputs, in the order of `tf.nest.flatten`.

    Args:
        inputs: a structure of leaves of any kind.
        declared: TensorSpecs with names, in this structure; None for a model that declares nothing.

    Returns:
        The keys of a dict, the names of the `keras.Input`s of a list or of a single input, and the
        places of a list without names; for nested structures keys and places joined by "/".

    Example:
        >>> leaf_names({"zz": 1, "aa": 2}, None), leaf_names([1, 2], None)
        (['aa', 'zz'], [0, 1])
    """
    named = []
    for path, leaf in flatten_with_paths(inputs if declared is None else declared):
        is_declared = isinstance(leaf, tf.TensorSpec) and leaf.name is not None
        if is_declared and len(path) < 2 and not (path and isinstance(path[0], str)):
            named.append(leaf.name)
        elif len(path) == 1:
            named.append(path[0])
        else:
            named.append("/".join(map(str, path)) or "inputs")
    return named


def of_input(option: Any, name: Any) -> Any:
    """Give the value of an option for an input, where a dict has one by name, else the option."""
    return option.get(name) if isinstance(option, dict) else option


def check_option_names(option: str, value: Any, names: Iterable[Any]) -> None:
    """Raise a TypeError for a dict of values by names that are not those of inputs.

    Args:
        option: the name of the option, for messages.
        value: its value; what is no dict is for all inputs.
        names: the names of the inputs.
    """
    known = list(names)
    unknown = [n for n in value if n not in known] if isinstance(value, Mapping) else []
    if unknown:
        raise TypeError(
            f"{option}: {unknown[0]!r} is no input that it is for; expected {quoted(known)}"
        )


def check_input_name(name: Any, names: Iterable[Any]) -> None:
    """Raise a ValueError for the option `inputs` with a name that is not that of an input."""
    known = list(names)
    if name not in known:
        raise ValueError(f"inputs={name!r}: the model has no such input, but {quoted(known)}")


def for_each_input(check: Callable[[Any], Any], option: Any) -> Any:
    """Check an option that is a value for all inputs, or a dict of values by the inputs' names."""
    if isinstance(option, dict):
        return {name: check(value) for name, value in option.items()}
    return check(option)


def _as_dict(values: Any, declared: dict[str, Any], name: str) -> dict[str, Any]:
    if isinstance(values, list | tuple) and len(values) == len(declared):
        if list(declared) != sorted(declared):
            raise TypeError(
                f"{name}: the model declares a dict with the keys {quoted(declared)}, whose order "
                f"is no alphabetical one, so that a {type(values).__name__} would be ambiguous; "
                "pass a dict"
            )
        values = dict(zip(declared, values, strict=True))
    if not isinstance(values, dict):
        raise _other_structure(values, declared, name)
    _compare(values, list(declared), name)
    parts = [(k, as_declared(values[k], p, name=f"{name}[{k!r}]")) for k, p in declared.items()]
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
        [as_declared(value, part, name=f"{name}[{i}]") for i, (value, part) in enumerate(parts)]
    )


def _compare(values: dict[str, Any], expected: list[str], name: str) -> None:
    missing = [n for n in expected if n not in values]
    unknown = [n for n in values if n not in expected]
    if not missing and not unknown:
        return
    problems = []
    for n in unknown:
        close = similar_names(str(n), missing or expected, cutoff=0.5)
        problems.append(f"{n!r} is none of them" + (f", perhaps {close[0]!r}?" if close else ""))
    problems += [f"{n!r} is missing" for n in missing]
    raise TypeError(
        f"{name}: expected a dict with the keys {quoted(expected)}, as the model declares them, "
        f"got {quoted(values)}: {'; '.join(problems)}"
    )


def _other_structure(values: Any, declared: Tensors, name: str) -> TypeError:
    return TypeError(
        f"{name}: expected {_described(declared)}, as the model declares them, got "
        f"{_described(values)}"
    )


def _described(values: Tensors) -> str:
    if isinstance(values, dict):
        return f"a dict with the keys {quoted(values)}"
    if isinstance(values, list | tuple):
        return f"a {type(values).__name__} of {len(values)}"
    return "one array"


def quoted(names: Iterable[Any]) -> str:
    """Give names as messages list them."""
    return ", ".join(map(repr, names))
