"""The layers of a model by their names: their outputs in a call, and their variables.

A name is that of a layer or operation, or the end of its path: "block/conv" where "conv" alone is
ambiguous. "conv@2" is the second call of a layer that is called several times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from threading import get_ident
from typing import Any

import keras
import tensorflow as tf

from tfxai.core.synonyms import similar_names
from tfxai.models import keras_graph
from tfxai.models.keras_graph import path_of


def find_layer(model: keras.Model, name: str) -> tuple[Any, int]:
    """Give the layer or operation of a name, and the number of the call (1 if not given).

    Raises:
        TypeError: the name is not a string.
        ValueError: no layer or several layers have the name, or the number is no number.
    """
    if not isinstance(name, str):
        raise TypeError(f"layer={name!r}: expected the name of a layer")
    wanted, _, number = name.partition("@")
    known = {id(o): o for o in keras_graph.operations(model)}.values()
    matches = [
        o for o in known if wanted in (o.name, path_of(o)) or path_of(o).endswith("/" + wanted)
    ]
    if not matches:
        close = similar_names(wanted, [o.name for o in known], most=3, cutoff=0.5)
        hint = ", ".join(close) or "model.summary(expand_nested=True) lists them"
        raise ValueError(f"layer={name!r}: {model.name} has no such layer; perhaps {hint}")
    if len(matches) > 1:
        paths = ", ".join(path_of(o) for o in matches)
        raise ValueError(
            f"layer={name!r} is the name of {len(matches)} layers; use a path: {paths}"
        )
    if number and not (number.isdigit() and int(number) > 0):
        raise ValueError(f"layer={name!r}: expected the number of a call, from 1, after '@'")
    return matches[0], int(number or 1)


def name_of_layer(model: keras.Model, layer: Any) -> str:
    """Give the shortest name by which `find_layer` finds a layer, in a copy of the model, too."""
    parts = path_of(layer).split("/")
    names = [layer.name, *("/".join(parts[-count:]) for count in range(2, len(parts) + 1))]
    for name in names:
        with suppress(ValueError):
            if find_layer(model, name)[0] is layer:
                return name
    raise ValueError(f"{path_of(layer)} is the name of several layers; give them other names")


def check_layers(model: keras.Model, layers: Sequence[str]) -> None:
    """Raise as `find_layer` does if the model has no layer of one of these names."""
    for name in layers:
        find_layer(model, name)


def check_call(name: str, number: int, calls: int) -> None:
    """Raise a ValueError if a layer's calls are fewer than `number`, or none of several is meant.

    Args:
        name: the name of the layer, as it was given.
        number: the number of the call in this name, 1 if not given.
        calls: how many times the model calls the layer.
    """
    if number > calls:
        raise ValueError(f"layer={name!r}: the model calls this layer {calls} times")
    if calls > 1 and "@" not in name:
        raise ValueError(
            f"layer={name!r} is called {calls} times; say which call is meant: "
            f"{name}@1 to {name}@{calls}"
        )


def layer_variables(model: keras.Model, layer: str) -> list[keras.Variable]:
    """Give the variables of a layer by its name, with those of layers inside it.

    Raises:
        ValueError: as `find_layer`.
    """
    operation, _ = find_layer(model, layer)
    return list(getattr(operation, "variables", []))


@contextmanager
def layer_outputs(model: keras.Model, layers: Sequence[str]) -> Iterator[Callable[[str], Any]]:
    """Record the outputs of layers while the model, of whatever kind, is called in the context.

    Yields:
        A function from a name to the layer's output, a tensor; it raises a ValueError for a layer
        that was not called, that was called several times, or that has several outputs.
    """
    by_name = {name: find_layer(model, name) for name in layers}
    with recorded_calls(operation for operation, _ in by_name.values()) as calls:

        def output_of(name: str) -> tf.Tensor:
            operation, number = by_name[name]
            results = calls[id(operation)]
            check_call(name, number, len(results))
            return checked_output(name, results[number - 1])

        yield output_of


@contextmanager
def recorded_calls(operations: Iterable[Any]) -> Iterator[dict[int, list[Any]]]:
    """Record the results of layers and operations while a model is called in the context.

    Yields:
        The identity of a layer or operation -> the results of its calls, so far.
    """
    known = list(operations)
    calls: dict[int, list[Any]] = {id(operation): [] for operation in known}

    def record(operation: Any, first: Any, result: Any) -> Any:
        del first
        calls[id(operation)].append(result)
        return result

    with intercepted_calls(known, record):
        yield calls


@contextmanager
def intercepted_calls(
    operations: Iterable[Any], visit: Callable[[Any, Any, Any], Any]
) -> Iterator[None]:
    """Let a function see and replace the results of layers, while a model is called in the context.

    Args:
        operations: layers and operations. Calls in other threads are not seen.
        visit: (operation, the first argument of its call, result) -> the result in its place.
    """
    by_id = {id(operation): operation for operation in operations}
    own = {key: vars(o)["call"] for key, o in by_id.items() if "call" in vars(o)}
    for operation in by_id.values():
        vars(operation)["call"] = _intercepted(operation, visit, get_ident())
    try:
        yield
    finally:
        for key, operation in by_id.items():
            if key in own:
                vars(operation)["call"] = own[key]
            else:
                del vars(operation)["call"]


def checked_output(name: str, result: Any) -> Any:
    """Give the result of a layer's call, or raise a ValueError if it is not one tensor.

    Args:
        name: the name of the layer, as it was given.
        result: a tensor, or the name of one; anything else is refused.
    """
    if not tf.is_tensor(result) and not isinstance(result, str):
        raise ValueError(f"layer={name!r} has several outputs; name a layer that has one")
    return result


def _intercepted(
    operation: Any, visit: Callable[[Any, Any, Any], Any], thread: int
) -> Callable[..., Any]:
    """Give a layer's `call` whose results, in one thread, go through `visit`."""
    call = operation.call

    @wraps(call)
    def intercepted_call(*args: Any, **keywords: Any) -> Any:
        result = call(*args, **keywords)
        if get_ident() != thread:
            return result
        first = next(iter((*args, *keywords.values())), None)
        return visit(operation, first, result)

    return intercepted_call
