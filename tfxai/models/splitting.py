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

    Where the model goes around the layer, by a skip or with a mask, the head takes a list: the
    layer's output, and those inputs of the model from which it computes what goes around. The
    encoder gives this list. The map of the layer's output comes first, and is that for fixed
    inputs where a method takes gradients at one point; a method of a path moves the inputs too,
    unless its baseline keeps them: ``baseline=lambda given: [0 * given[0], *given[1:]]``.

    Args:
        model: a functional or Sequential model; models inside it are opened.
        layer: the name of a layer or operation; "name@2" is its second call.

    Returns:
        ``(encoder, head)``.

    Raises:
        ValueError: the model is subclassed, there is no such layer, the layer has several
            outputs, or the output does not depend on it.

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
        if not isinstance(result, keras.KerasTensor):
            raise ValueError(f"layer={layer!r} has several outputs; split at a layer that has one")
        cut = keras.Input(batch_shape=result.shape, dtype=result.dtype)
        head_inputs.append(cut)
        return keras_graph.with_mask_of(result, cut)

    outputs = keras_graph.call_operations(functional, inputs, visit)
    check_call(layer, number, len(calls))
    name = layer.replace("@", "_").replace("/", "_")
    around = _needed(head_inputs[0], keras.tree.flatten(inputs), outputs)
    at_layer = [calls[number - 1], *around] if around else calls[number - 1]
    of_head = [head_inputs[0], *around] if around else head_inputs[0]
    return (
        keras.Model(inputs, at_layer, name=f"{model.name}_to_{name}"),
        keras.Model(of_head, outputs, name=f"{model.name}_from_{name}"),
    )


def _needed(
    cut: keras.KerasTensor, inputs: list[keras.KerasTensor], outputs: Any
) -> list[keras.KerasTensor]:
    """Give the inputs that outputs depend on by other ways than through a tensor."""
    needed = list(inputs)
    for x in inputs:
        fewer = [other for other in needed if other is not x]
        if _is_connected([cut, *fewer], outputs):
            needed = fewer
    return needed


def _is_connected(inputs: list[keras.KerasTensor], outputs: Any) -> bool:
    """Whether outputs can be computed from inputs alone."""
    try:
        keras.Model(inputs, outputs)
    except ValueError:
        return False
    return True
