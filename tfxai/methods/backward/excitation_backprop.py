"""Excitation backprop and its contrastive form (Zhang et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfxai import scores
from tfxai.core import checks
from tfxai.core.axes import Order
from tfxai.core.tracing import traced
from tfxai.core.types import Result, Tensors
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.methods.backward.upsampling import UPSAMPLINGS, maps_like, upsampled
from tfxai.models import graph_axes, keras_graph, named_layers
from tfxai.models.heads import scored_outputs
from tfxai.models.model_info import ModelInspector
from tfxai.rules.backward import backpropagate, report
from tfxai.rules.excitation import excitation
from tfxai.rules.steps import steps_between


@builder
def excitation_backprop(
    model: keras.Model,
    *,
    layer: str | None = None,
    contrast_layer: str | None = None,
    upsample: str | None = "bilinear",
    passthrough: Sequence[str] = (),
    data_format: str | None = None,
) -> Method:
    """Explain by the probability that a walk from the class down to an input, or unit, ends there.

    P_j = sum_i [x_j w_ij]+ P_i / sum_k [x_k w_ik]+

    Args:
        model: a Keras model of piecewise-linear steps, written in any way.
        layer: where to stop, by name; the map is summed over its channels. None for the inputs.
        contrast_layer: for the contrastive form, a layer below the last kernel: the probabilities
            of the class's opposite (that kernel with its signs turned) are subtracted there.
        upsample: how a layer's map gets the inputs' height and width, "bilinear" or "nearest";
            None leaves it.
        passthrough: types of operations or names of layers that keep their ordinary gradient.
        data_format: of a layer's map, where the channels of the inputs are, as in `rise`.

    Returns:
        An Explainer with attributions of the inputs' shape or, for a `layer`, ``[B, H, W, 1]``.
        They are not negative and sum to 1, less what reaches neurons that only their bias excites;
        in the contrastive form to 0. For target 0 of a one-unit head all signs are turned.

    Raises:
        ValueError: no such layer; or, at the first call, an operation that is not piecewise linear.

    Reference:
        Zhang et al. 2016, equations 2 to 5, METHODS 5.8. Departures: a batch normalisation is
        folded into the kernel before it, so that a negative factor turns excitation into
        inhibition; a negative unit, which the paper excludes, passes its probability to what
        makes it negative; a product's is halved between its factors. Maps are not clipped at 0.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> _ = model.layers[0].kernel.assign([[1.0], [3.0], [-1.0]])
        >>> excitation_backprop(model)(keras.ops.ones((1, 3))).numpy().round(4) + 0.0
        array([[0.25, 0.75, 0.  ]], dtype=float32)
    """
    checks.model(model)
    checks.one_of("upsample", upsample, UPSAMPLINGS)
    names = checks.names("passthrough", passthrough)
    layers = [name for name in (layer, contrast_layer) if name is not None]
    named_layers.check_layers(model, layers)
    inspector = ModelInspector(model, data_format)
    forward = scored_outputs(model, scores.logit)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        del seed
        flat = tf.nest.flatten(inputs)
        with keras_graph.inlined(), named_layers.layer_outputs(model, layers) as output_of:
            logits, chosen = forward(inputs, targets)
        (one_hot,) = tf.gradients(chosen, [logits])
        ends = flat if layer is None else [output_of(layer)]

        def walk(
            source: tf.Tensor, start: tf.Tensor, ends: list[tf.Tensor], *, negate: bool = False
        ) -> list[tf.Tensor]:
            steps = steps_between(ends, [source])
            kernels = [step for step in steps if step.form is not None]
            last = kernels[-1] if source is logits and kernels else None
            rule = excitation(top=last, negated=negate)
            return backpropagate(steps, rule, source, start, ends, passthrough=names)

        if contrast_layer is None:
            probabilities = walk(logits, one_hot, ends)
        else:
            middle = output_of(contrast_layer)
            (excited,) = walk(logits, one_hot, [middle])
            (inhibited,) = walk(logits, one_hot, [middle], negate=True)
            probabilities = walk(middle, excited - inhibited, ends)
        if layer is None:
            return Result(tf.nest.pack_sequence_as(inputs, probabilities), {})
        (of_layer,) = graph_axes.channels_last(probabilities, ends[0])
        maps = tf.reduce_sum(of_layer, -1, keepdims=True)
        first = Order(inspector.order(inputs).channels[:1])
        return Result(upsampled(maps, flat[0], upsample, first, density=True), {})

    attribution = traced(attribute)
    return Method(
        inspector,
        lambda rows: attribution,
        scores.logit,
        report=lambda specs: report(excitation(), model, scores.logit, specs, names),
        like=None if layer is None else maps_like(attribution),
    )
