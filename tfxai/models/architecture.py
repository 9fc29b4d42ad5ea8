"""What decides a model's graph beside the values of its variables, to notice that it changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from tfxai.models import keras_graph

GRAPHS = "_tfxai_graphs"
"""The attribute of a model under which tfxai keeps what it has traced."""
_PRIMITIVES = (bool, int, float, complex, str, bytes, type(None))


def architecture(model: keras.Model) -> list[Any]:
    """List what decides the graph of a model: its layers, their classes, and their attributes.

    The objects in an attribute count by their identity, numbers and texts by their value, and what
    is in lists and dicts by what it holds. Keras's own notes, such as those of training, are left
    out. A change inside any other object is not seen.
    """
    parts: list[Any] = []
    for layer in keras_graph.layers(model):
        parts += [layer, type(layer), getattr(type(layer), "call", None)]
        for name, value in keras_graph.own_attributes(layer).items():
            if name != GRAPHS:
                parts += [name, *_contents(value)]
    return parts


def is_same(before: list[Any], after: list[Any]) -> bool:
    """Whether two results of `architecture` are equal."""
    return len(before) == len(after) and all(map(_is_same, before, after))


def _is_same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and isinstance(a, _PRIMITIVES) and a == b)


def _contents(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield dict
        for key, part in value.items():
            yield key
            yield from _contents(part)
    elif isinstance(value, list | tuple):
        yield type(value)
        for part in value:
            yield from _contents(part)
        yield len(value)
    else:
        yield value
