"""Grad-CAM and guided Grad-CAM (Selvaraju et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from tfxai import scores
from tfxai.core import checks
from tfxai.core.tracing import traced
from tfxai.core.types import Attribution, Result, Score, Tensors
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.methods.backward.last_activations import first_reached, last_activations
from tfxai.methods.backward.placed_activations import Placed, Places, placed
from tfxai.methods.backward.upsampling import UPSAMPLINGS, maps_like, upsample_maps
from tfxai.models import graph_axes, named_layers
from tfxai.models.model_info import ModelInspector
from tfxai.models.scored_models import scored_outputs
from tfxai.rules import rectifier
from tfxai.rules.backward import gradient_under
from tfxai.rules.extensions import Extensions
from tfxai.rules.report import report

NO_EVIDENCE = (
    "nothing in the layer speaks for the class more than against it, and Grad-CAM's ReLU removes "
    "the rest, or the layer has one position; name an earlier layer=, or take a method with signs "
    "(integrated_gradients)"
)
"""What to try where a map is constant."""


@builder
def grad_cam(
    model: keras.Model,
    *,
    layer: str | None = None,
    upsample: str | None = "bilinear",
    score: Score = scores.logit,
    data_format: str | None = None,
) -> Method:
    """Explain by the activations of a layer, each channel weighted by its mean gradient.

    L = ReLU(sum_k alpha_k A^k),  alpha_k = 1/Z sum_ij d f_t / d A^k_ij

    A^k is the activation in channel k, and Z the number of its positions. The tokens of a vision
    transformer are put back to the rows and columns that they come from. Class tokens and registers
    are left out: the diagnostic "left_out_tokens" has their numbers, ``[B, k]``.

    Args:
        model: a Keras model of images, sequences, token ids or volumes, written in any way.
        layer: the name of the layer whose activations are taken; None for the last activations
            that have positions in the input on which the score depends.
        upsample: how the map is brought to the size of the inputs, "bilinear" or "nearest"; None
            leaves its size as it is.
        score: the function (outputs, targets) -> ``[B]`` that gives the score to explain.
        data_format: where the channels of the inputs are, as in `rise`.

    Returns:
        An Explainer with attributions ``[B, H, W, 1]``, ``[B, T, 1]`` for sequences, ``[B, T]``
        for token ids, ``[B, D, H, W, 1]`` for volumes; not negative, in units of the score for
        each position.

    Raises:
        ValueError: the model has no such layer, the layer has no positions, or nothing tells where
            in the input they lie.

    Reference:
        Selvaraju et al. 2017, equations 1 and 2. The map is not normalised (docs/methods.md,
        Grad-CAM and guided Grad-CAM).

    Example:
        >>> model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3)])
        >>> model.add(keras.layers.GlobalAveragePooling2D())
        >>> grad_cam(model)(keras.ops.ones((1, 4, 4, 1)), 0).shape
        TensorShape([1, 4, 4, 1])
    """
    inspector = ModelInspector(checks.model(model), data_format)
    attribution = _grad_cam(model, layer, upsample, score, inspector)
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
    extend: bool = True,
    data_format: str | None = None,
) -> Method:
    """Explain by guided backprop times the upsampled Grad-CAM.

    Args:
        model: a Keras model, written in any way.
        layer: as in `grad_cam`.
        upsample: how Grad-CAM's map is brought to the height and width of the inputs, "bilinear"
            or "nearest".
        score: the function (outputs, targets) -> ``[B]`` that gives the score to explain.
        passthrough: as in `guided_backprop`.
        extend: as in `guided_backprop`.
        data_format: where the channels of the inputs are, as in `rise`.

    Returns:
        An Explainer with attributions of the inputs' shape.

    Raises:
        ValueError: for the reasons of `grad_cam` and `guided_backprop`; or `upsample` is None.

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
    cam = _grad_cam(model, layer, upsample, score, inspector)
    rule = partial(rectifier.guided, extend=checks.one_of("extend", extend, (True, False)))
    extensions = Extensions()
    guided = gradient_under(
        rule, model, score, passthrough=names, folded=True, extensions=extensions
    )

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        guided_gradient = guided(inputs, targets, seed).attributions
        return Result(guided_gradient * cam(inputs, targets, seed).attributions, {})

    return Method(
        inspector,
        lambda rows: attribute,
        score,
        report=lambda specs: report(rule(), model, score, specs, names),
        extensions=extensions,
        slopes=True,
        if_constant=NO_EVIDENCE,
    )


def _grad_cam(
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
    forward = scored_outputs(model, score, layers, folded=True)

    def candidates(inputs: Tensors, targets: tf.Tensor) -> tuple:
        outputs, target_score, _ = forward(inputs, targets)
        places = Places(tf.nest.flatten(inputs)[0], inspector.order(inputs))
        return target_score, last_activations(places, outputs, target_score), places

    def last(inputs: Tensors, targets: tf.Tensor) -> tuple:
        target_score, activations, places = candidates(inputs, targets)
        grid = places.grid(activations[0])
        number: int | None = 0
        if grid is not None and len(grid.left_out):
            number = first_reached(candidates, inputs)
        if number is None:
            raise ValueError(
                "layer=None: the score depends on none of the tokens that stand for places in the "
                "input; name an earlier layer="
            )
        return target_score, activations[number], places

    def named(inputs: Tensors, targets: tf.Tensor) -> tuple:
        _, target_score, output_of = forward(inputs, targets)
        places = Places(tf.nest.flatten(inputs)[0], inspector.order(inputs))
        return target_score, output_of(layers[0]), places

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        del seed
        if len(tf.nest.flatten(inputs)) > 1:
            raise ValueError("Grad-CAM maps one input, but the model has several")
        (image,) = tf.nest.flatten(inputs)
        order = inspector.order(inputs)
        target_score, activations, places = (named if layers else last)(inputs, targets)
        if not _has_positions(activations):
            raise ValueError(
                f"layer={layer!r} gives {activations.shape}, which has no positions to map; name "
                "one before the pooling or flattening"
            )
        (gradient,) = tf.gradients(target_score, [activations])
        if gradient is None:
            raise ValueError(f"layer={layer!r}: the score does not depend on it")
        if upsample is None and not places.can_map(activations):
            values = graph_axes.channels_last([activations, gradient], activations)
            found = Placed(values, np.array([], int))
        else:
            found = placed([activations, gradient], activations, places, f"layer={layer!r}")
        maps = tf.cast(_weighted_channels(*found.values), image.dtype)
        return Result(upsample_maps(maps, image, upsample, order), _left_out(found, image))

    return traced(attribute)


def _weighted_channels(activations: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Give ReLU(sum_k alpha_k A^k), ``[B, ..., 1]``, where the channels k are last.

    Source: Selvaraju et al. 2017, equations 1 (alpha) and 2.
    """
    positions = range(1, activations.shape.rank - 1)
    alpha = tf.reduce_mean(gradient, positions, keepdims=True)
    return tf.nn.relu(tf.reduce_sum(alpha * activations, -1, keepdims=True))


def _left_out(found: Placed, image: tf.Tensor) -> dict[str, Tensors]:
    """Give the numbers of the tokens that the map leaves out as a diagnostic of each example."""
    if not len(found.left_out):
        return {}
    numbers = tf.constant(found.left_out, tf.int32)[None]
    return {"left_out_tokens": tf.repeat(numbers, tf.shape(image)[0], axis=0)}


def _has_positions(x: tf.Tensor) -> bool:
    return x.shape.rank is not None and x.shape.rank >= 3
