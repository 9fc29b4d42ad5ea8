"""What Keras knows of a model: its inputs, its operations, its weights.

Private Keras API is used in this file only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common.stateless_scope import in_stateless_scope
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
    """Give the data type of gradients with respect to the model's inputs.

    It is float64 if a declared input or a weight is float64, else float32, also under mixed
    precision. A model without any of both has Keras's default type.
    """
    specs = declared_inputs(model)
    declared = [s.dtype for s in tf.nest.flatten(specs)] if specs is not None else []
    stored = [tf.as_dtype(w.dtype) for w in model.weights]
    floats = [d for d in declared + stored if d.is_floating]
    if not floats:
        return keras.config.floatx()
    return "float64" if tf.float64 in floats else "float32"


def functional_model(operation: Any) -> keras.Model | None:
    """Give the functional model that a model is or, if Sequential, is made of; None for others."""
    if isinstance(operation, keras.Sequential):
        return operation._functional
    return operation if isinstance(operation, Functional) else None


def symbolic_inputs(functional: keras.Model) -> Any:
    """Make new symbolic inputs like those of a functional model, in its structure."""
    return keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name),
        functional._inputs_struct,
    )


def call_operations(functional: keras.Model, inputs: Any, visit: Callable[[Any, Any], Any]) -> Any:
    """Call every operation of a functional model on new symbolic inputs; open nested models.

    Args:
        functional: as `functional_model` gives it.
        inputs: in its structure.
        visit: (operation, result) -> the result with which the next operations go on.

    Returns:
        The outputs, in the model's structure.
    """

    def operation_fn(operation: Any) -> Callable[..., Any]:
        nested = functional_model(operation)

        def call(*args: Any, **keywords: Any) -> Any:
            if nested is None:
                return visit(operation, operation(*args, **keywords))
            return visit(operation, call_operations(nested, args[0], visit))

        return call

    standard = functional._standardize_inputs(inputs)
    return functional._run_through_graph(standard, operation_fn=operation_fn)


@contextmanager
def without_casts_to_integers(model: keras.Model) -> Iterator[None]:
    """Let a model, and those inside it, take numbers where they declare integers."""
    models = list({id(m): m for m in layers(model) if functional_model(m) is not None}.values())
    opened = {id(f): f for f in map(functional_model, models)}

    def as_given(functional: keras.Model) -> Callable[[list], list]:
        def convert(flat: list) -> list:
            converted = type(functional)._convert_inputs_to_tensors(functional, flat)
            pairs = zip(flat, functional.inputs, converted, strict=True)
            return [
                x if tf.is_tensor(x) and x.dtype.is_floating and "int" in declared.dtype else cast
                for x, declared, cast in pairs
            ]

        return convert

    # A Sequential casts by itself, before the functional model that it is made of does.
    converted = [m._convert_input_args for m in models]
    for functional in opened.values():
        vars(functional)["_convert_inputs_to_tensors"] = as_given(functional)
    for each in models:
        vars(each)["_convert_input_args"] = False
    try:
        yield
    finally:
        for functional in opened.values():
            del vars(functional)["_convert_inputs_to_tensors"]
        for each, before in zip(models, converted, strict=True):
            vars(each)["_convert_input_args"] = before


def with_mask_of(tensor: keras.KerasTensor, other: keras.KerasTensor) -> keras.KerasTensor:
    """Give `other`, with the mask that Keras passes along with a symbolic tensor, if it has one."""
    mask = keras.src.backend.get_keras_mask(tensor)
    if mask is not None:
        keras.src.backend.set_keras_mask(other, mask)
    return other


def mask_of(layer: Any, inputs: Any, output: Any) -> Any:
    """Give the mask that Keras passes along with the output of a layer; None if there is none."""
    mask = keras.src.backend.get_keras_mask(output)
    if mask is None and isinstance(layer, keras.layers.Layer):
        return layer.compute_mask(inputs, None)
    return mask


def layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield a model and all layers inside it; a layer that is shared may come several times."""
    yield model
    yield from model._flatten_layers(include_self=False)


def own_attributes(layer: keras.layers.Layer) -> dict[str, Any]:
    """Give the attributes of a layer but those in which Keras notes how it is used or trained."""
    own = {k: v for k, v in vars(layer).items() if k not in _notes_of_keras()}
    return {**own, "dtype_policy": layer.dtype_policy.name}


@cache
def _notes_of_keras() -> frozenset[str]:
    # In a graph of its own: one that is being built would have made the variables of its metrics.
    with tf.Graph().as_default():
        model = keras.Model()
        model.compile()
    made_by_training = ("history", "stop_training", "stop_predicting", "_eval_epoch_iterator")
    return frozenset((*vars(model), *made_by_training))


def reads_own_variables() -> bool:
    """Whether a model that is called now reads its own variables, and those of one device only.

    That is not so within a `keras.StatelessScope`, which gives other values to the variables, nor
    within a distribution strategy, whose devices have copies of them.
    """
    return not in_stateless_scope() and not tf.distribute.has_strategy()


def operations(model: keras.Model) -> Iterator[Any]:
    """Yield the operations and layers of a model, and those of layers inside it; some repeat."""
    for layer in layers(model):
        functional = functional_model(layer)
        yield from functional.operations if functional is not None else ()
        if layer is not model:
            yield layer


def first_operations(
    model: keras.Model, through: Callable[[keras.Operation], bool]
) -> list[keras.Operation]:
    """Give the layers and operations that read a model's inputs, directly or behind others.

    Nested models are opened. A subclassed model has no graph, and gives an empty list.

    Args:
        model: any Keras model.
        through: whether an operation counts as transparent, so that the operations which read its
            output are given in its place.
    """
    functional = functional_model(model)
    if functional is None:
        return []
    reached = {id(x) for x in keras.tree.flatten(functional.inputs)}
    readers: list[keras.Operation] = []
    for operation in functional.operations:
        calls = [n for n in operation._inbound_nodes if reached & {id(x) for x in n.input_tensors}]
        if not calls or isinstance(operation, keras.layers.InputLayer):
            continue
        nested = functional_model(operation) is not None
        first = first_operations(operation, through) if nested else [operation]
        first = [o for o in first if not through(o)]
        readers += first
        if not first:
            reached |= {id(x) for call in calls for x in call.outputs}
    return readers


@contextmanager
def inlined() -> Iterator[None]:
    """Trace functions that a model wraps in `tf.function` as parts of the current graph."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        with grouped_convolutions.portable():
            yield
    finally:
        tf.config.run_functions_eagerly(before)


def owners(model: keras.Model) -> dict[int, tuple[keras.layers.Layer, keras.Variable]]:
    """Give the innermost layer that owns each variable, and the variable.

    The keys are the identities of the variables' handles. Under a `keras.StatelessScope` they are
    those of the tensors that take the variables' places.
    """
    layer_of = {}
    for layer in layers(model):
        for variable in layer.variables:
            value = variable.value
            # A variable of a distribution strategy has one copy for each device.
            for copy in getattr(value, "values", (value,)):
                layer_of[id(getattr(copy, "handle", copy))] = (layer, variable)
    return layer_of


def parameters(model: keras.Model) -> list[tuple[keras.Variable, bool]]:
    """Give a model's floating-point weights, each with whether it is a statistic.

    A statistic is gathered in training but not learned, such as a moving mean; a weight that is
    frozen at the moment is not a statistic. The order is that of `weighted_layers`, however models
    are nested.
    """
    weights: dict[int, tuple[keras.Variable, bool]] = {}
    for layer in _from_input_to_output(model):
        for variables, is_statistic in (
            (layer._trainable_variables, False),
            (layer._non_trainable_variables, True),
        ):
            for variable in variables:
                if tf.as_dtype(variable.dtype).is_floating:
                    weights.setdefault(id(variable), (variable, is_statistic))
    return list(weights.values())


def weighted_layers(model: keras.Model) -> list[tuple[str, list[keras.Variable]]]:
    """Give the path and the weights of each layer with floating-point weights, from the input on.

    The weights of a layer are its own, without those of layers inside it. The layers of a
    subclassed model come in the order in which they were made.
    """
    remaining = {id(v) for v, _ in parameters(model)}
    layers: list[tuple[str, list[keras.Variable]]] = []
    for layer in _from_input_to_output(model):
        own = layer._trainable_variables + layer._non_trainable_variables
        new = [v for v in own if id(v) in remaining]
        remaining.difference_update(map(id, new))
        if new:
            layers.append((path_of(new[0]).rsplit("/", 1)[0], new))
    return layers


def path_of(named: Any) -> str:
    """Give the path of a layer, operation or variable; its name where Keras keeps no path."""
    return getattr(named, "path", None) or named.name


def _from_input_to_output(layer: Any) -> Iterator[Any]:
    """Yield the layers inside a layer in the order of their calls, and then the layer itself."""
    functional = functional_model(layer)
    called = functional.operations if functional is not None else ()
    inner = {id(part): part for part in (*called, *layer._layers)}
    for part in inner.values():
        if isinstance(part, keras.layers.Layer) and part is not functional:
            yield from _from_input_to_output(part)
    yield layer
