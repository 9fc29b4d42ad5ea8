"""Excitation backprop and its contrastive form (Zhang et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfxai import scores
from tfxai.core import checks
from tfxai.core.axes import Order
from tfxai.core.tracing import traced_by_size
from tfxai.core.types import Result, Score, Tensors
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.methods.backward.upsampling import UPSAMPLINGS, maps_like, upsample_maps
from tfxai.models import graph_axes, named_layers
from tfxai.models.model_info import ModelInspector
from tfxai.models.scored_models import scored_outputs
from tfxai.rules.backward import backpropagate
from tfxai.rules.excitation import excitation
from tfxai.rules.extensions import Extensions
from tfxai.rules.report import report
from tfxai.rules.steps import Step, steps_between
from tfxai.scores import part as score_parts
from tfxai.scores.position import Unit


@builder
def excitation_backprop(
    model: keras.Model,
    *,
    layer: str | None = None,
    contrast_layer: str | None = None,
    upsample: str | None = "bilinear",
    passthrough: Sequence[str] = (),
    extend: bool = True,
    data_format: str | None = None,
    score: Score = scores.logit,
) -> Method:
    """Explain by the probability that a random walk down from the class ends at each input.

    P_j = sum_i [x_j w_ij]+ P_i / sum_k [x_k w_ik]+

    Args:
        model: a Keras model, written in any way.
        layer: the name of the layer where the walk ends; its map is summed over channels. None for
            the inputs.
        contrast_layer: the name of a layer below the last kernel, for the contrastive form: there
            the probabilities of the opposite of the class are subtracted. They are what the last
            kernel gives with the signs of its weights turned.
        upsample: how the map of a layer is brought to the height and width of the inputs,
            "bilinear" or "nearest"; None leaves its size as it is.
        passthrough: types of operations or names of layers that keep their ordinary gradient.
        extend: whether activations other than ReLUs, normalisations by data, gates and attention
            are treated, too; all pass on the whole probability. False to refuse such models.
        data_format: where the channels of the inputs are, as in `rise`; the map of a layer is
            arranged like the inputs.
        score: where the walk begins: the target's logit; or `unit`, or the logit of another part of
            the outputs, such as ``output("label")`` or ``region()``, where it begins at each place
            alike.

    Returns:
        An Explainer with attributions of the inputs' shape or, for a `layer`, ``[B, H, W, 1]``.
        They are not negative, and sum to 1 less the probability that reaches neurons which only
        their bias excites. In the contrastive form they may be negative, and sum to 0 instead of 1.
        Class 0 of a one-unit head z has the logit -z: what lowers z excites it.

    Raises:
        ValueError: the score is no logit or unit; the model has no such layer; or, at the first
            call, it has an operation that is not known, such as a loop over the examples; with
            ``extend=False``, one that is not piecewise linear.

    Reference:
        Zhang et al. 2016, equations 2 to 5. Departures (docs/methods.md, Excitation backprop): a
        batch normalisation is folded into the kernel before it, so that a negative factor turns
        excitation into inhibition; a negative unit, which the paper excludes, passes its
        probability to what makes it negative; a product shares its probability equally between its
        factors. Maps are not clipped at 0.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> _ = model.layers[0].kernel.assign([[1.0], [3.0], [-1.0]])
        >>> excitation_backprop(model)(keras.ops.ones((1, 3))).numpy().round(4) + 0.0
        array([[0.25, 0.75, 0.  ]], dtype=float32)
    """
    checks.model(model)
    checks.one_of("upsample", upsample, UPSAMPLINGS)
    names = checks.names("passthrough", passthrough)
    walk = _Walk(names, checks.one_of("extend", extend, (True, False)), Extensions())
    layers = [name for name in (layer, contrast_layer) if name is not None]
    named_layers.check_layers(model, layers)
    inspector = ModelInspector(model, data_format)
    forward = scored_outputs(model, _checked_start(score), layers, unrolled=True)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        del seed
        flat_inputs = tf.nest.flatten(inputs)
        logits, target_logits, output_of = forward(inputs, targets)
        (one_hot,) = tf.gradients(target_logits, [logits])
        ends = flat_inputs if layer is None else [output_of(layer)]
        if contrast_layer is None:
            probabilities = walk.from_class(logits, one_hot, ends)
        else:
            contrast = output_of(contrast_layer)
            (excited,) = walk.from_class(logits, one_hot, [contrast])
            (inhibited,) = walk.from_class(logits, one_hot, [contrast], negated=True)
            probabilities = walk.down(contrast, excited - inhibited, ends)
        if layer is None:
            return Result(tf.nest.pack_sequence_as(inputs, probabilities), {})
        (layer_map,) = graph_axes.channels_last(probabilities, ends[0])
        layer_map = tf.reduce_sum(layer_map, -1, keepdims=True)
        # A layer's map has the resolution of the first input, where a model has several.
        order = Order(inspector.order(inputs).channels[:1])
        return Result(upsample_maps(layer_map, flat_inputs[0], upsample, order, keep_sums=True), {})

    attribution = traced_by_size(attribute)
    return Method(
        inspector,
        lambda rows: attribution,
        score,
        report=lambda specs: report(excitation(extend=extend), model, score, specs, names),
        extensions=walk.extensions,
        like=None if layer is None else maps_like(attribution),
    )


def _checked_start(score: Score) -> Score:
    """Give a score whose gradient with respect to the outputs is a probability at each of them."""
    start = score_parts.innermost(score)
    if start is scores.logit or isinstance(start, Unit):
        return score
    raise ValueError(
        f"score={score_parts.text(score)}: excitation backprop begins at the target's logit; take "
        "tfxai.scores.logit, unit, or the logit of a part, such as output('label') or region()"
    )


class _Walk(NamedTuple):
    """Passes probabilities down a network."""

    passthrough: Sequence[str]
    """Types of operations or names of layers that keep their ordinary gradient."""
    extend: bool
    """Whether the rule is extended beyond its paper."""
    extensions: Extensions
    """Takes note of what is extended."""

    def from_class(
        self, logits: tf.Tensor, slopes: tf.Tensor, ends: list[tf.Tensor], *, negated: bool = False
    ) -> list[tf.Tensor]:
        """Pass the probability of the explained class down to the tensors `ends`.

        Class 0 of a one-unit head z has the logit -z, which the last kernel with its signs turned
        computes.

        Args:
            logits: ``[B, ..., C]``.
            slopes: of the class's logit with respect to the logits, which are 1 for the class, or
                -1 for class 0 of a one-unit head.
            ends: where the walk ends.
            negated: whether it is the class's opposite.
        """
        start = tf.maximum(slopes, 0)
        probabilities = self.from_logits(logits, start, ends, negated=negated)
        if logits.shape[-1] != 1:
            return probabilities
        opposite = tf.maximum(-slopes, 0)
        of_opposites = self.from_logits(logits, opposite, ends, negated=not negated)
        return [a + b for a, b in zip(probabilities, of_opposites, strict=True)]

    def from_logits(
        self, logits: tf.Tensor, start: tf.Tensor, ends: list[tf.Tensor], *, negated: bool = False
    ) -> list[tf.Tensor]:
        """Pass the probabilities `start` of the logits down to the tensors `ends`.

        Args:
            logits: ``[B, C]``.
            start: the probability of each logit, ``[B, C]``.
            ends: where the walk ends.
            negated: whether the weights of the last kernel have their signs turned.
        """
        steps = steps_between(ends, [logits], regions=self.extend)
        kernels = [step for step in steps if step.form is not None]
        top = kernels[-1] if kernels else None
        return self._through(steps, logits, start, ends, top=top, negated=negated)

    def down(self, source: tf.Tensor, start: tf.Tensor, ends: list[tf.Tensor]) -> list[tf.Tensor]:
        """Pass the probabilities `start` of a layer's units down to the tensors `ends`."""
        steps = steps_between(ends, [source], regions=self.extend)
        return self._through(steps, source, start, ends, top=None, negated=False)

    def _through(
        self,
        steps: Sequence[Step],
        source: tf.Tensor,
        start: tf.Tensor,
        ends: list[tf.Tensor],
        *,
        top: Step | None,
        negated: bool,
    ) -> list[tf.Tensor]:
        return backpropagate(
            steps,
            excitation(top=top, negated=negated, extend=self.extend),
            source,
            start,
            ends,
            passthrough=self.passthrough,
            extensions=self.extensions,
        )
