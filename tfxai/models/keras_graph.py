"""What Keras knows of a model: its inputs, its layers, its calls. Keras internals stay here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf
from keras.src.models.functional import Functional

from tfxai.core.types import Tensors
from tfxai.models import grouped_convolutions


def declared_inputs(model: keras.Model) -> Tensors | None:
    """Give the inputs that a model declares as TensorSpecs with names; None if subclassed."""
    if isinstance(model, keras.Sequential):
        inputs = getattr(model, "inputs", None)  # raises where Keras could not trace a layer
        declared = inputs[0] if inputs else None
    else:
        declared = getattr(model, "_inputs_struct", None)
    if declared is None:
        return None
    if isinstance(declared, list | tuple) and len(declared) == 1:
        declared = declared[0]  # keras.Model(model.inputs, ...) is called with a bare tensor
    return keras.tree.map_structure(
        lambda x: tf.TensorSpec(
            [None, *x.shape[1:]], keras.backend.standardize_dtype(x.dtype), x.name
        ),
        declared,
    )


def float_type(model: keras.Model) -> str:
    """Give the type in which gradients with respect to the model's inputs are taken.

    It is float64 where a declared input or a weight is; float32 under mixed precision.
    """
    specs = declared_inputs(model)
    declared = [s.dtype for s in tf.nest.flatten(specs)] if specs is not None else []
    stored = [tf.as_dtype(w.dtype) for w in model.weights]
    floats = [d for d in declared + stored if d.is_floating]
    if not floats:
        return keras.config.floatx()
    return "float64" if tf.float64 in floats else "float32"


def split(model: keras.Model, layer: str) -> tuple[keras.Model, keras.Model]:
    """Cut a model in two at a layer: ``head(encoder(x))`` is ``model(x)``.

    Any method on `head` is its layer attribution; a model on token ids is explained at the output
    of its embedding. Both parts share the model's layers and variables. Keras notes in each layer
    that it has been called once more; nothing else of the model changes.

    Args:
        model: a functional or Sequential model; models inside it are opened.
        layer: the name of a layer or operation; "name@2" is its second call.

    Returns:
        ``(encoder, head)``.

    Raises:
        ValueError: no such layer, a subclassed model, a layer with several outputs or a mask, or
            one that the output does not depend on alone.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="first")])
        >>> model.add(keras.layers.Dense(1))
        >>> encoder, head = split(model, "first")
        >>> encoder.output_shape, head.input_shape
        ((None, 3), (None, 3))
    """
    functional = _functional(model)
    if functional is None:
        raise ValueError(
            f"split: {model.name} is a subclassed {type(model).__name__}, which has no graph to "
            "cut; write it as a functional model, or split a functional model inside it"
        )
    wanted, number = _named(model, layer)
    inputs = keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name),
        functional._inputs_struct,
    )
    calls: list[Any] = []
    cut: list[keras.KerasTensor] = []

    def visit(operation: keras.Operation, result: Any) -> Any:
        if operation is not wanted:
            return result
        calls.append(result)
        if len(calls) != number:
            return result
        _refuse_to_cut(layer, result)
        cut.append(keras.Input(batch_shape=result.shape, dtype=result.dtype))
        return cut[0]

    outputs = _rerun(functional, inputs, visit)
    _check_calls(layer, number, len(calls))
    name = layer.replace("@", "_").replace("/", "_")
    encoder = keras.Model(inputs, calls[number - 1], name=f"{model.name}_to_{name}")
    try:
        return encoder, keras.Model(cut[0], outputs, name=f"{model.name}_from_{name}")
    except ValueError as error:
        raise ValueError(
            f"layer={layer!r}: the model's output also depends on its input by another way around "
            "this layer; choose one that everything passes through"
        ) from error


def first_operations(
    model: keras.Model, through: Callable[[keras.Operation], bool]
) -> list[keras.Operation]:
    """Give the layers and operations that read a model's inputs, or what `through` makes of them.

    Nested models are opened. A subclassed model has no graph, so none are known.
    """
    functional = _functional(model)
    if functional is None:
        return []
    seen = {id(x) for x in keras.tree.flatten(functional.inputs)}
    found: list[keras.Operation] = []
    for operation in functional.operations:
        calls = [n for n in operation._inbound_nodes if seen & {id(x) for x in n.input_tensors}]
        if not calls or isinstance(operation, keras.layers.InputLayer):
            continue
        nested = _functional(operation) is not None
        first = first_operations(operation, through) if nested else [operation]
        first = [o for o in first if not through(o)]
        found += first
        if not first:
            seen |= {id(x) for call in calls for x in call.outputs}
    return found


@contextmanager
def recording(model: keras.Model, layers: Sequence[str]) -> Iterator[Callable[[str], tf.Tensor]]:
    """Keep the outputs of layers by name while the model is called, in whatever kind of model.

    Yields:
        A function from a name to its tensor; "name@2" is the second call of a layer.
    """
    found = {name: _named(model, name) for name in layers}
    calls: dict[int, list[Any]] = {id(operation): [] for operation, _ in found.values()}
    unique = {id(operation): operation for operation, _ in found.values()}

    def output(name: str) -> tf.Tensor:
        operation, number = found[name]
        outputs = calls[id(operation)]
        _check_calls(name, number, len(outputs))
        if not tf.is_tensor(outputs[number - 1]):
            raise ValueError(f"layer={name!r} has several outputs; name a layer that has one")
        return outputs[number - 1]

    for key, operation in unique.items():
        vars(operation)["call"] = _noting(operation.call, calls[key])
    try:
        yield output
    finally:
        for operation in unique.values():
            del vars(operation)["call"]


def layer_variables(model: keras.Model, layer: str) -> list[keras.Variable]:
    """Give the variables of a layer by its name, those of layers inside it too.

    Raises:
        ValueError: no such layer.
    """
    operation, _ = _named(model, layer)
    return list(getattr(operation, "variables", []))


def check_layers(model: keras.Model, layers: Sequence[str]) -> None:
    """Raise a ValueError if the model has no layers of these names."""
    for name in layers:
        _named(model, name)


@contextmanager
def inlined() -> Iterator[None]:
    """Let functions that a model wraps in `tf.function` be traced as part of the current graph."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        with grouped_convolutions.portable():
            yield
    finally:
        tf.config.run_functions_eagerly(before)


def owners(model: keras.Model) -> dict[int, tuple[keras.layers.Layer, keras.Variable]]:
    """Give the innermost layer that owns each variable, by the identity of its handle.

    Under a `keras.StatelessScope`, by that of the tensor which takes the variable's place.
    """
    found = {}
    for layer in (model, *model._flatten_layers(include_self=False)):
        for variable in layer.variables:
            value = variable.value
            # A variable of a distribution strategy has one copy for each device.
            for copy in getattr(value, "values", (value,)):
                found[id(getattr(copy, "handle", copy))] = (layer, variable)
    return found


def parameters(model: keras.Model) -> list[tuple[keras.Variable, bool]]:
    """Give a model's floating-point weights, each with whether it is a statistic.

    Statistics are what training gathers but does not learn, such as moving means. Weights that are
    frozen at the moment are none. Their order is that of `weighted_layers`, however models are
    nested.
    """
    found: dict[int, tuple[keras.Variable, bool]] = {}
    for layer in _from_input_to_output(model):
        for variables, statistic in (
            (layer._trainable_variables, False),
            (layer._non_trainable_variables, True),
        ):
            for variable in variables:
                if tf.as_dtype(variable.dtype).is_floating:
                    found.setdefault(id(variable), (variable, statistic))
    return list(found.values())


def weighted_layers(model: keras.Model) -> list[tuple[str, list[keras.Variable]]]:
    """Give the layers that own floating-point weights, from the input to the output.

    Each comes by its path, with its own weights, not those of layers inside it. A subclassed
    model's layers come in the order in which they were made.
    """
    known = {id(v) for v, _ in parameters(model)}
    found: list[tuple[str, list[keras.Variable]]] = []
    for layer in _from_input_to_output(model):
        own = layer._trainable_variables + layer._non_trainable_variables
        new = [v for v in own if id(v) in known]
        known.difference_update(map(id, new))
        if new:
            found.append((_path(new[0]).rsplit("/", 1)[0], new))
    return found


def _from_input_to_output(layer: Any) -> Iterator[Any]:
    """Give the layers inside a layer in the order of their calls, and then itself."""
    functional = _functional(layer)
    called = functional.operations if functional is not None else ()
    inside = {id(part): part for part in (*called, *layer._layers)}
    for part in inside.values():
        if isinstance(part, keras.layers.Layer) and part is not functional:
            yield from _from_input_to_output(part)
    yield layer


def _functional(operation: Any) -> keras.Model | None:
    """Give the functional model that a model is or, if Sequential, is made of."""
    if isinstance(operation, keras.Sequential):
        return operation._functional
    return operation if isinstance(operation, Functional) else None


def _rerun(functional: keras.Model, inputs: Any, visit: Callable[[Any, Any], Any]) -> Any:
    """Call every operation on new symbolic inputs, opening nested models; `visit` sees results."""

    def operation_fn(operation: Any) -> Callable[..., Any]:
        inner = _functional(operation)

        def call(*args: Any, **keywords: Any) -> Any:
            if inner is None:
                return visit(operation, operation(*args, **keywords))
            return visit(operation, _rerun(inner, args[0], visit))

        return call

    standard = functional._standardize_inputs(inputs)
    return functional._run_through_graph(standard, operation_fn=operation_fn)


def _named(model: keras.Model, name: str) -> tuple[Any, int]:
    """Find a layer or operation, and the number of the call that is meant (1 if not given)."""
    if not isinstance(name, str):
        raise TypeError(f"layer={name!r}: expected the name of a layer")
    wanted, _, number = name.partition("@")
    known = {id(o): o for o in _operations(model)}.values()
    found = [o for o in known if wanted in (o.name, _path(o)) or _path(o).endswith("/" + wanted)]
    if not found:
        close = difflib.get_close_matches(wanted, [o.name for o in known], 3, 0.5)
        hint = ", ".join(close) or "model.summary(expand_nested=True) lists them"
        raise ValueError(f"layer={name!r}: {model.name} has no such layer; perhaps {hint}")
    if len(found) > 1:
        paths = ", ".join(_path(o) for o in found)
        raise ValueError(f"layer={name!r} is the name of {len(found)} layers; use a path: {paths}")
    if number and not (number.isdigit() and int(number) > 0):
        raise ValueError(f"layer={name!r}: expected the number of a call, from 1, after '@'")
    return found[0], int(number or 1)


def _operations(model: keras.Model) -> Iterator[Any]:
    for layer in (model, *model._flatten_layers(include_self=False)):
        functional = _functional(layer)
        yield from functional.operations if functional is not None else ()
        if layer is not model:
            yield layer


def _path(operation: Any) -> str:
    return getattr(operation, "path", None) or operation.name


def _check_calls(name: str, number: int, calls: int) -> None:
    if number > calls:
        raise ValueError(f"layer={name!r}: the model calls this layer {calls} times")
    if calls > 1 and "@" not in name:
        raise ValueError(
            f"layer={name!r} is called {calls} times; say which call is meant: "
            f"{name}@1 to {name}@{calls}"
        )


def _refuse_to_cut(name: str, result: Any) -> None:
    if not isinstance(result, keras.KerasTensor):
        raise ValueError(f"layer={name!r} has several outputs; split at a layer that has one")
    if keras.src.backend.get_keras_mask(result) is not None:
        raise ValueError(
            f"layer={name!r} computes a mask, which the part behind it would miss; set "
            "mask_zero=False, or split where the mask has been used"
        )


def _noting(call: Callable[..., Any], outputs: list[Any]) -> Callable[..., Any]:
    def noted(*args: Any, **keywords: Any) -> Any:
        result = call(*args, **keywords)
        outputs.append(result)
        return result

    return noted
