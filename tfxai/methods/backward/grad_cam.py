"""Grad-CAM and guided Grad-CAM (Selvaraju et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfxai import scores
from tfxai.core import checks
from tfxai.core.tracing import traced
from tfxai.core.types import Attribution, Result, Score, Tensors
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.methods.backward.upsampling import UPSAMPLINGS, maps_like, upsampled
from tfxai.models import graph_axes, keras_graph, named_layers
from tfxai.models.heads import scored_outputs
from tfxai.models.model_info import ModelInspector
from tfxai.rules import rectifier
from tfxai.rules.backward import gradient_under, report
from tfxai.rules.steps import steps_between

NO_ACTIVATIONS = {
    "Reshape", "Transpose", "ExpandDims", "Squeeze", "Identity", "Cast", "Pad", "PadV2",
    "MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D", "Mean", "Sum", "Max", "While", "StatelessWhile",
}  # fmt: skip
"""What rearranges or pools an activation."""
COLLECTED = {"TensorListStack"}
"""What gives the results of a loop as one tensor."""
NO_EVIDENCE = (
    "nothing in the layer speaks for the class more than against it, and Grad-CAM's ReLU removes "
    "the rest, or the layer has one position; name an earlier layer=, or take a method with signs "
    "(integrated_gradients)"
)
"""What to try where a map is constant."""
SIZES = {"Shape", "ShapeN", "Size", "Rank"}
"""What tells of a tensor's shape, not of its values."""


@builder
def grad_cam(
    model: keras.Model,
    *,
    layer: str | None = None,
    upsample: str | None = "bilinear",
    score: Score = scores.logit,
    data_format: str | None = None,
) -> Method:
    """Explain by the activations A of a layer, weighted by the mean gradient of each channel k.

    L = ReLU(sum_k alpha_k A^k),  alpha_k = 1/Z sum_ij d f_t / d A^k_ij

    Args:
        model: a Keras model of images or sequences, written in any way.
        layer: whose activations, by name; None for the last that have positions.
        upsample: how the map gets the inputs' height and width, "bilinear" or "nearest"; None
            leaves it.
        score: what is explained, (outputs, targets) -> ``[B]``.
        data_format: where the channels of the inputs are, as in `rise`.

    Returns:
        An Explainer with attributions ``[B, H, W, 1]``, not negative, in units of the score per
        position.

    Raises:
        ValueError: no such layer, or one without positions.

    Reference:
        Selvaraju et al. 2017, equations 1 and 2.

    Example:
        >>> model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3)])
        >>> model.add(keras.layers.GlobalAveragePooling2D())
        >>> grad_cam(model)(keras.ops.ones((1, 4, 4, 1)), 0).shape
        TensorShape([1, 4, 4, 1])
    """
    inspector = ModelInspector(checks.model(model), data_format)
    attribution = _cam(model, layer, upsample, score, inspector)
    return Method(
        inspector,
        lambda rows: attribution,
        score,
        like=maps_like(attribution),
        if_constant=NO_EVIDENCE,
    )


@builder
def guided_grad_cam(
    model: keras.Model,
    *,
    layer: str | None = None,
    upsample: str | None = "bilinear",
    score: Score = scores.logit,
    passthrough: Sequence[str] = (),
    data_format: str | None = None,
) -> Method:
    """Explain by guided backprop times the upsampled Grad-CAM.

    Args:
        model: a Keras model of ReLUs and other piecewise-linear steps, written in any way.
        layer: as in `grad_cam`.
        upsample: "bilinear" or "nearest".
        score: what is explained, (outputs, targets) -> ``[B]``.
        passthrough: as in `guided_backprop`.
        data_format: where the channels of the inputs are, as in `rise`.

    Returns:
        An Explainer with attributions of the inputs' shape.

    Raises:
        ValueError: as `grad_cam` and `guided_backprop`.

    Reference:
        Selvaraju et al. 2017, section 3.2.

    Example:
        >>> model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3)])
        >>> model.add(keras.layers.GlobalAveragePooling2D())
        >>> guided_grad_cam(model)(keras.ops.ones((1, 4, 4, 1)), 0).shape
        TensorShape([1, 4, 4, 1])
    """
    if upsample is None:
        raise ValueError("upsample=None: guided_grad_cam needs 'bilinear' or 'nearest'")
    names = checks.names("passthrough", passthrough)
    inspector = ModelInspector(checks.model(model), data_format)
    cam = _cam(model, layer, upsample, score, inspector)
    guided = gradient_under(rectifier.guided, model, score, passthrough=names)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        fine = guided(inputs, targets, seed).attributions
        return Result(fine * cam(inputs, targets, seed).attributions, {})

    return Method(
        inspector,
        lambda rows: attribute,
        score,
        report=lambda specs: report(rectifier.guided(), model, score, specs, names),
        if_constant=NO_EVIDENCE,
    )


def _cam(
    model: keras.Model,
    layer: str | None,
    upsample: str | None,
    score: Score,
    inspector: ModelInspector,
) -> Attribution:
    """Give Grad-CAM as an attribution."""
    checks.one_of("upsample", upsample, UPSAMPLINGS)
    layers = [] if layer is None else [layer]
    named_layers.check_layers(model, layers)
    forward = scored_outputs(model, score)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        del seed
        if len(tf.nest.flatten(inputs)) > 1:
            raise ValueError("Grad-CAM maps one input, but the model has several")
        (image,) = tf.nest.flatten(inputs)
        order = inspector.order(inputs)
        with keras_graph.inlined(), named_layers.layer_outputs(model, layers) as output_of:
            outputs, chosen = forward(inputs, targets)
        activations = _last_spatial(image, outputs, chosen) if layer is None else output_of(layer)
        if not _has_positions(activations):
            raise ValueError(
                f"layer={layer!r} gives {activations.shape}, which has no positions to map; name "
                "one before the pooling or flattening"
            )
        (gradient,) = tf.gradients(chosen, [activations])
        if gradient is None:
            raise ValueError(f"layer={layer!r}: the score does not depend on it")
        activated, gradient = graph_axes.channels_last([activations, gradient], activations)
        positions = range(1, activated.shape.rank - 1)
        alpha = tf.reduce_mean(gradient, positions, keepdims=True)
        maps = tf.nn.relu(tf.reduce_sum(alpha * activated, -1, keepdims=True))
        maps = upsampled(tf.cast(maps, image.dtype), image, upsample, order)
        return Result(maps, {})

    return traced(attribute)


def _last_spatial(image: tf.Tensor, outputs: Tensors, score: tf.Tensor) -> tf.Tensor:
    """Give the last activation with positions on the way to the outputs that the score is of."""
    flat = [o for o in tf.nest.flatten(outputs) if o.dtype.is_floating]
    used = [o for o, g in zip(flat, tf.gradients(score, flat), strict=True) if g is not None]
    for step in reversed(steps_between([image, *_made_of_integers(image)], used)):
        result = step.outputs[0]
        if _is_activation(step.first) and _has_positions(result):
            return result
    raise ValueError(
        "layer=None: between the inputs and the score there are no activations with positions, "
        "that is of three axes or more, such as a convolution's"
    )


def _is_activation(operation: tf.Operation) -> bool:
    """Whether an operation gives an activation, the batch first.

    What a loop over time collects has the time first; a transpose puts the batch there.
    """
    if operation.type == "Transpose":
        return operation.inputs[0].op.type in COLLECTED
    return operation.type not in NO_ACTIVATIONS and not operation.type.startswith("TensorList")


def _made_of_integers(image: tf.Tensor) -> list[tf.Tensor]:
    """Give the floating-point tensors that are made of integers which depend on the image.

    No gradient passes the integers, of pixels or of tokens; behind them it does.
    """
    reached, made = {image.ref()}, []
    for operation in image.graph.get_operations():
        given = [t for t in operation.inputs if t.ref() in reached]
        if given and operation.type not in SIZES:
            reached.update(t.ref() for t in operation.outputs)
            if any(t.dtype.is_integer for t in given):
                made += [t for t in operation.outputs if t.dtype.is_floating]
    return made


def _has_positions(x: tf.Tensor) -> bool:
    return x.shape.rank is not None and x.shape.rank >= 3
