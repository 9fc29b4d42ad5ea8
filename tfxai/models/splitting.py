"""A model cut in two at a layer."""

from __future__ import annotations

from typing import Any

import keras

from tfxai.models import keras_graph
from tfxai.models.named_layers import check_call, find_layer


def split(model: keras.Model, layer: str) -> tuple[keras.Model, keras.Model]:
    """Cut a model in two at a layer, such that ``head(encoder(x))`` is ``model(x)``.

    Any method on `head` explains the layer's output. A model of token ids is explained at the
    output of its embedding. Both parts share the model's layers and variables. Keras notes in each
    layer that it has been called once more; nothing else of the model changes.

    Args:
        model: a functional or Sequential model; models inside it are opened.
        layer: the name of a layer or operation; "name@2" is its second call.

    Returns:
        ``(encoder, head)``.

    Raises:
        ValueError: the model is subclassed, there is no such layer, the layer has several outputs
            or a mask, or the output does not depend on the input through this layer alone.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="first")])
        >>> model.add(keras.layers.Dense(1))
        >>> encoder, head = split(model, "first")
        >>> encoder.output_shape, head.input_shape
        ((None, 3), (None, 3))
    """
    functional = keras_graph.functional_model(model)
    if functional is None:
        raise ValueError(
            f"split: {model.name} is a subclassed {type(model).__name__}, which has no graph to "
            "cut; write it as a functional model, or split a functional model inside it"
        )
    wanted, number = find_layer(model, layer)
    inputs = keras_graph.symbolic_inputs(functional)
    calls: list[Any] = []
    head_inputs: list[keras.KerasTensor] = []

    def visit(operation: keras.Operation, result: Any) -> Any:
        if operation is not wanted:
            return result
        calls.append(result)
        if len(calls) != number:
            return result
        _check_cut(layer, result)
        head_inputs.append(keras.Input(batch_shape=result.shape, dtype=result.dtype))
        return head_inputs[0]

    outputs = keras_graph.call_operations(functional, inputs, visit)
    check_call(layer, number, len(calls))
    name = layer.replace("@", "_").replace("/", "_")
    encoder = keras.Model(inputs, calls[number - 1], name=f"{model.name}_to_{name}")
    try:
        return encoder, keras.Model(head_inputs[0], outputs, name=f"{model.name}_from_{name}")
    except ValueError as error:
        raise ValueError(
            f"layer={layer!r}: the model's output also depends on its input by another way around "
            "this layer; choose one that everything passes through"
        ) from error


def _check_cut(name: str, result: Any) -> None:
    """Raise a ValueError for a layer's result at which a model cannot be cut."""
    if not isinstance(result, keras.KerasTensor):
        raise ValueError(f"layer={name!r} has several outputs; split at a layer that has one")
    if keras_graph.has_mask(result):
        raise ValueError(
            f"layer={name!r} computes a mask, which the part behind it would miss; set "
            "mask_zero=False, or split where the mask has been used"
        )
