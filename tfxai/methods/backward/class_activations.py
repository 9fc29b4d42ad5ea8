"""Class activation maps of one of a model's inputs: the equation, and what it is applied to."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfxai.core import checks
from tfxai.core.tracing import traced
from tfxai.core.types import Attribution, Result, Score, Tensors
from tfxai.methods.backward.last_activations import activations_between, first_reached
from tfxai.methods.backward.mapped_input import MappedInput, places_in
from tfxai.methods.backward.placed_activations import Placed, placed
from tfxai.methods.backward.upsampling import UPSAMPLINGS, upsample_maps
from tfxai.models import graph_axes, named_layers
from tfxai.models.model_info import ModelInspector
from tfxai.models.scored_models import scored_outputs


def class_activation_maps(
    inspector: ModelInspector,
    score: Score,
    layer: str | None,
    upsample: str | None,
    name: Any,
) -> tuple[MappedInput, Attribution]:
    """Give Grad-CAM as an attribution, and which input it maps.

    Args:
        inspector: the inspector of the model.
        score: what is explained.
        layer: as in `grad_cam`.
        upsample: as in `grad_cam`.
        name: the option `inputs` of `grad_cam`.
    """
    checks.one_of("upsample", upsample, UPSAMPLINGS)
    layers = [] if layer is None else [layer]
    named_layers.check_layers(inspector.model, layers)
    forward = scored_outputs(inspector.model, score, layers, folded=True)

    def leading(inputs: Tensors, targets: tf.Tensor) -> list[int]:
        outputs, target_score, output_of = forward(inputs, targets)

        def leads(place: int) -> bool:
            places = places_in(inspector, inputs, place)
            if layers:
                return places.lead_to(output_of(layers[0]))
            return any(map(places.lead_to, activations_between(places, outputs, target_score)))

        return list(filter(leads, range(len(tf.nest.flatten(inputs)))))

    mapped = MappedInput(inspector, name, leading, f"layer={layer!r}")

    def candidates(inputs: Tensors, targets: tf.Tensor) -> tuple:
        outputs, target_score, _ = forward(inputs, targets)
        places = mapped.places(inputs)
        return target_score, activations_between(places, outputs, target_score), places

    reached: dict[tuple, int | None] = {}

    def last(inputs: Tensors, targets: tf.Tensor) -> tuple:
        target_score, activations, places = candidates(inputs, targets)
        if not activations:
            between = "the inputs" if name is None else f"the input {name!r}"
            raise ValueError(
                f"layer=None: between {between} and the score there are no activations with "
                "positions, that is of three axes or more, such as a convolution's; methods of the "
                "inputs themselves, such as integrated_gradients, need none"
            )
        grid = places.grid(activations[0])
        number: int | None = 0
        if grid is not None and len(grid.left_out):
            # Found once, where the weights are the model's own: they may get noise later.
            size = tuple(places.image.shape)
            if size not in reached:
                reached[size] = first_reached(candidates, inputs)
            number = reached[size]
        if number is None:
            raise ValueError(
                "layer=None: the score depends on none of the tokens that stand for places in the "
                "input; name an earlier layer="
            )
        return target_score, activations[number], places

    def named(inputs: Tensors, targets: tf.Tensor) -> tuple:
        _, target_score, output_of = forward(inputs, targets)
        return target_score, output_of(layers[0]), mapped.places(inputs)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        del seed
        target_score, activations, places = (named if layers else last)(inputs, targets)
        image = places.image
        if not _has_positions(activations):
            raise ValueError(
                f"layer={layer!r} gives {activations.shape}, which has no positions to map; name "
                "one before the pooling or flattening"
            )
        mapped.check(activations, inputs, placed=upsample is not None)
        (gradient,) = tf.gradients(target_score, [activations])
        if gradient is None:
            raise ValueError(f"layer={layer!r}: the score does not depend on it")
        if upsample is None and not places.can_map(activations):
            values = graph_axes.channels_last([activations, gradient], activations)
            found = Placed(values, np.array([], int))
        else:
            found = placed([activations, gradient], activations, places, f"layer={layer!r}")
        maps = tf.cast(_weighted_channels(*found.values), image.dtype)
        return Result(upsample_maps(maps, image, upsample, places.order), _left_out(found, image))

    return mapped, traced(attribute)


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
