"""Grad-CAM and guided Grad-CAM (Selvaraju et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfxai import checks, graph, scores
from tfxai.explainer import Explainer
from tfxai.heads import explained
from tfxai.methods.gradient import shaped_by, without_numbers
from tfxai.rules import rectifier
from tfxai.rules.backward import gradient_under, report
from tfxai.rules.steps import steps_between
from tfxai.runner import Method
from tfxai.tracing import traced
from tfxai.types import Attribution, Score, Tensors
from tfxai.upsampling import UPSAMPLINGS, upsampled

NO_ACTIVATIONS = {
    "Reshape", "Transpose", "ExpandDims", "Squeeze", "Identity", "Cast", "Pad", "PadV2",
    "MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D", "Mean", "Sum", "Max",
}  # fmt: skip
"""What rearranges or pools an activation."""
NO_EVIDENCE = (
    "nothing in the layer speaks for the class more than against it, and Grad-CAM's ReLU removes "
    "the rest; name an earlier layer=, or take a method with signs (integrated_gradients)"
)
"""What to try where a map is zero."""


@keras.saving.register_keras_serializable("tfxai")
def grad_cam(
    model: keras.Model,
    *,
    layer: str | None = None,
    upsample: str | None = "bilinear",
    score: Score = scores.logit,
) -> Explainer:
    """Explain by the activations A of a layer, weighted by the mean gradient of each channel k.

    L = ReLU(sum_k alpha_k A^k),  alpha_k = 1/Z sum_ij d f_t / d A^k_ij

    Args:
        model: a Keras model of images or sequences, written in any way.
        layer: whose activations, by name; None for the last that have positions.
        upsample: how the map gets the inputs' height and width, "bilinear" or "nearest"; None
            leaves it.
        score: what is explained, (outputs, targets) -> ``[B]``.

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
    attribution = _cam(model, layer, upsample, score)
    like = shaped_by(attribution)
    method = Method(
        lambda rows: without_numbers(attribution), score, like=like, if_flat=NO_EVIDENCE
    )
    options = {"layer": layer, "upsample": upsample, "score": score}
    return Explainer(model, method, builder=grad_cam, options=options)


@keras.saving.register_keras_serializable("tfxai")
def guided_grad_cam(
    model: keras.Model,
    *,
    layer: str | None = None,
    upsample: str | None = "bilinear",
    score: Score = scores.logit,
    passthrough: Sequence[str] = (),
) -> Explainer:
    """Explain by guided backprop times the upsampled Grad-CAM.

    Args:
        model: a Keras model of ReLUs and other piecewise-linear steps, written in any way.
        layer: as in `grad_cam`.
        upsample: "bilinear" or "nearest".
        score: what is explained, (outputs, targets) -> ``[B]``.
        passthrough: as in `guided_backprop`.

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
    cam = _cam(model, layer, upsample, score)
    guided = gradient_under(rectifier.guided, model, score, passthrough=names)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Tensors:
        return guided(inputs, targets, seed) * cam(inputs, targets, seed)

    method = Method(
        lambda rows: without_numbers(attribute),
        score,
        report=lambda specs: report(rectifier.guided(), model, score, specs, names),
        if_flat=NO_EVIDENCE,
    )
    options = {"layer": layer, "upsample": upsample, "score": score, "passthrough": names}
    return Explainer(model, method, builder=guided_grad_cam, options=options)


def _cam(model: keras.Model, layer: str | None, upsample: str | None, score: Score) -> Attribution:
    checks.model(model)
    checks.one_of("upsample", upsample, UPSAMPLINGS)
    layers = [] if layer is None else [layer]
    graph.check_layers(model, layers)
    forward = explained(model, score)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        del seed
        if len(tf.nest.flatten(inputs)) > 1:
            raise ValueError("Grad-CAM maps one input, but the model has several")
        (image,) = tf.nest.flatten(inputs)
        with graph.inlined(), graph.recording(model, layers) as output_of:
            outputs, chosen = forward(inputs, targets)
        activations = _last_spatial(image, outputs) if layer is None else output_of(layer)
        if not _has_positions(activations):
            raise ValueError(
                f"layer={layer!r} gives {activations.shape}, which has no positions to map; name "
                "one before the pooling or flattening"
            )
        (gradient,) = tf.gradients(chosen, [activations])
        if gradient is None:
            raise ValueError(f"layer={layer!r}: the score does not depend on it")
        positions = range(1, activations.shape.rank - 1)
        alpha = tf.reduce_mean(gradient, positions, keepdims=True)
        maps = tf.nn.relu(tf.reduce_sum(alpha * activations, -1, keepdims=True))
        return upsampled(tf.cast(maps, image.dtype), image, upsample)

    return traced(attribute)


def _last_spatial(image: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Give the last activation with positions on the way to the outputs."""
    for step in reversed(steps_between([image], [outputs])):
        result = step.outputs[0]
        if step.first.type not in NO_ACTIVATIONS and _has_positions(result):
            return result
    raise ValueError("Grad-CAM: the model has no activations with positions")


def _has_positions(x: tf.Tensor) -> bool:
    return x.shape.rank is not None and x.shape.rank >= 3
