"""Grad-CAM and guided Grad-CAM (Selvaraju et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import keras
import tensorflow as tf

from tfxai import scores
from tfxai.core import checks
from tfxai.core.types import Result, Score, Tensors
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.methods.backward.class_activations import class_activation_maps
from tfxai.methods.backward.upsampling import maps_like
from tfxai.models.model_info import ModelInspector
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
    inputs: str | int | None = None,
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
        inputs: the name of the input that is mapped; None for the one whose places the layer's
            positions stand for, of several inputs.
        score: the function (outputs, targets) -> ``[B]`` that gives the score to explain.
        data_format: where the channels of the inputs are, as in `rise`.

    Returns:
        An Explainer with attributions ``[B, H, W, 1]``, ``[B, T, 1]`` for sequences, ``[B, T]``
        for token ids, ``[B, D, H, W, 1]`` for volumes; not negative, in units of the score for
        each position. Of several inputs one alone has a map.

    Raises:
        ValueError: the model has no such layer or input, the layer has no positions, nothing tells
            where in the input they lie, or they stand for places of several inputs, of which
            `inputs` names none.

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
    mapped, attribution = class_activation_maps(inspector, score, layer, upsample, inputs)
    return Method(
        inspector,
        lambda rows: attribution,
        score,
        like=maps_like(attribution),
        select=mapped.select,
        if_constant=NO_EVIDENCE,
    )


@builder
def guided_grad_cam(
    model: keras.Model,
    *,
    layer: str | None = None,
    upsample: str | None = "bilinear",
    inputs: str | int | None = None,
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
        inputs: as in `grad_cam`.
        score: the function (outputs, targets) -> ``[B]`` that gives the score to explain.
        passthrough: as in `guided_backprop`.
        extend: as in `guided_backprop`.
        data_format: where the channels of the inputs are, as in `rise`.

    Returns:
        An Explainer with attributions of the shape of the input that is mapped.

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
    mapped, cam = class_activation_maps(inspector, score, layer, upsample, inputs)
    rule = partial(rectifier.guided, extend=checks.one_of("extend", extend, (True, False)))
    extensions = Extensions()
    guided = gradient_under(
        rule, model, score, passthrough=names, folded=True, extensions=extensions, only=mapped.place
    )

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        guided_gradient = guided(inputs, targets, seed).attributions
        return Result(guided_gradient * cam(inputs, targets, seed).attributions, {})

    return Method(
        inspector,
        lambda rows: attribute,
        score,
        report=lambda specs: report(rule(), model, score, specs, names, only=mapped.place),
        extensions=extensions,
        like=mapped.select,
        select=mapped.select,
        slopes=True,
        if_constant=NO_EVIDENCE,
    )
