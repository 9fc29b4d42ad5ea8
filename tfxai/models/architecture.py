"""What decides a model's graph beside the values of its variables, to notice that it changed."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType
from typing import Any

import keras
import numpy as np

from tfxai.models import keras_graph

GRAPHS = "_tfxai_graphs"
"""The attribute of a model under which tfxai keeps what it has traced."""
_DEPTH = 4
"""How deep lists, functions and objects are looked into."""
_LIBRARIES = (
    *("builtins", "types", "functools", "threading", "weakref", "numpy"),
    *("keras", "tensorflow", "tfxai"),
)
"""Classes of these are known not to change, and their objects count by their identity."""
_PRIMITIVES = (bool, int, float, complex, str, bytes, type(None))


def architecture(model: keras.Model) -> list[Any]:
    """List what decides the graph of a model: its layers, their classes, and their attributes.

    Objects count by their identity; numbers, texts and arrays by their value; lists, dicts and
    objects of the user's also by what they hold, and functions by the variables around them.
    Keras's own notes, such as those of training, are left out. A change of a global variable, or
    deeper inside an object, is not seen.
    """
    return list(_of_model(model, set()))


def is_same(before: list[Any], after: list[Any]) -> bool:
    """Whether two results of `architecture` are equal."""
    return len(before) == len(after) and all(map(_is_same, before, after))


def _is_same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and isinstance(a, _PRIMITIVES) and a == b)


def _of_model(model: keras.Model, seen: set[int]) -> Iterator[Any]:
    """Yield the parts of `architecture`; `seen` has the layers that were listed already."""
    for layer in keras_graph.layers(model):
        if id(layer) in seen:
            yield layer
            continue
        seen.add(id(layer))
        yield layer
        for cls in type(layer).__mro__:
            if _is_users(cls):
                yield from _contents({k: v for k, v in vars(cls).items() if k[:2] != "__"}, seen)
        for name, value in keras_graph.own_attributes(layer).items():
            if name != GRAPHS:
                yield name
                yield from _contents(value, seen)


def _contents(value: Any, seen: set[int], depth: int = 0) -> Iterator[Any]:
    if depth > _DEPTH:
        yield value
    elif isinstance(value, keras.layers.Layer):
        yield from _of_model(value, seen)
    elif isinstance(value, np.ndarray):
        yield hash((value.shape, value.tobytes()))
    elif isinstance(value, dict):
        yield dict
        for key, part in value.items():
            yield key
            yield from _contents(part, seen, depth + 1)
    elif isinstance(value, list | tuple):
        yield type(value)
        yield len(value)
        for part in value:
            yield from _contents(part, seen, depth + 1)
    elif isinstance(value, FunctionType):
        yield value
        cells = [_cell(c) for c in value.__closure__ or ()]
        yield from _contents([value.__defaults__, value.__kwdefaults__, *cells], seen, depth + 1)
    else:
        yield value
        if _is_users(type(value)) and hasattr(value, "__dict__"):
            yield from _contents(vars(value), seen, depth + 1)


def _is_users(cls: type) -> bool:
    """Whether a class is neither Python's nor a library's that is known not to change."""
    return cls.__module__.partition(".")[0] not in _LIBRARIES


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return None
