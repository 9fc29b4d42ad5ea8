"""Deletion and insertion: the score as parts of an input go or come, the most important first.

Petsiuk et al. 2018 (RISE), section 3.3; for masks with fewer cells than the image has pixels,
Qi et al. 2020 (I-GOS), section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfxai.core import checks
from tfxai.core.layout import checked_covering
from tfxai.core.types import Score
from tfxai.metrics.curves import Curve, Curves, curve_from_scores, nan_where_constant
from tfxai.metrics.scored_inputs import ScoredInputs, score_perturbed, scored_inputs
from tfxai.metrics.units import Units, cells, grouped, layouts, most_important

DEFAULT_STEPS = 50
"""How many steps a curve has, about, where `step` is None."""


def deletion(
    model: Callable,
    inputs: Any,
    heatmaps: Any,
    targets: Any,
    *,
    substrate: Any = 0.0,
    step: int | None = None,
    per_channel: bool = False,
    groups: Any = None,
    score: Score | None = None,
    batch_size: int = 32,
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
) -> Curve:
    """Delete pixels, the most important first: the area under the score should be small.

    Of a sequence steps in time are deleted, of a table features, of a volume voxels.

    Args:
        model: maps inputs ``[N, ...]`` to outputs ``[N, classes]``.
        inputs: images ``[B, H, W, C]``, sequences ``[B, T, C]``, volumes ``[B, D, H, W, C]``,
            tables ``[B, F]``; of a model of several inputs a dict by name, or what it takes.
        heatmaps: one channel, ``[B, h, w, 1]`` or ``[B, h, w]``, of sequences ``[B, t, 1]`` and so
            on; of tables ``[B, F]``. At the resolution of the inputs single positions are deleted;
            below it the cells of a mask, which is drawn larger with soft edges, as in I-GOS. Of
            several inputs a dict by name: all that have a map are ranked together, and the others
            stay.
        targets: class indices, ``[B]`` or one for all.
        substrate: what is left where a pixel has been deleted: a number, an image, "blur", "mean"
            and so on, as in `tfxai.baselines.baseline`; an array of the inputs' shape, one for
            each example; or a function from the inputs to that array, such as
            `tfxai.baselines.rise_blur`. It is one of the inputs that have a map.
        step: how many pixels (or cells) are deleted at a time; None takes a fiftieth of them.
        per_channel: whether single channels are deleted, each with a value in the heatmap,
            ``[B, H, W, C]``.
        groups: what is deleted together, as in `tfxai.occlusion`: the number of the group of each
            feature ``[F]``, of each position, such as ``[H, W]``, or of each element; for several
            inputs a dict by name. A group's value is the mean of the heatmap over its elements.
        score: maps outputs and targets to scores ``[N]``; None takes the outputs at the targets as
            they stand. For a model that ends in logits, take `tfxai.scores.probability`.
        batch_size: how many examples the model is given at once.
        bounds: for a substrate by name, as in `tfxai.baselines.baseline`.
        data_format: the order of the axes of `inputs` and `heatmaps`, "channels_last" or
            "channels_first"; None takes what a Keras model says.

    Returns:
        A `Curve`.

    Raises:
        TypeError, ValueError: shapes or names that do not fit, or values that are not finite.

    Reference:
        Petsiuk et al. 2018, section 3.3. Pixels of equal value go in the order of rows (a
        stable sort), and both ends of the curve count, where the published codes leave out one or
        add to it. What is no image is ours (docs/methods.md, Deletion and insertion).

    Example:
        >>> image, model = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]]), lambda x: x.sum((1, 2))
        >>> curve = deletion(model, image, image, 0, step=1)
        >>> curve.scores, curve.auc
        (array([[10.,  6.,  3.,  1.,  0.]]), array([3.75]))

        A table, of which the first two features are one group:

        >>> table, model = np.array([[1.0, 2.0, 5.0]]), lambda x: x.sum(1, keepdims=True)
        >>> deletion(model, table, table, 0, step=1, groups=[0, 0, 1]).scores
        array([[8., 3., 0.]])
    """
    options = CurveOptions(
        substrate, step, per_channel, groups, score, batch_size, bounds, data_format
    )
    return _curves(["deletion"], model, inputs, heatmaps, targets, options)[0]


def insertion(
    model: Callable,
    inputs: Any,
    heatmaps: Any,
    targets: Any,
    *,
    substrate: Any = 0.0,
    step: int | None = None,
    per_channel: bool = False,
    groups: Any = None,
    score: Score | None = None,
    batch_size: int = 32,
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
) -> Curve:
    """Insert pixels, the most important first: the area under the score should be large.

    The arguments, the errors and the source are those of `deletion`. The substrate is here what
    pixels are inserted into: RISE takes a slightly blurred one,
    `tfxai.baselines.rise_blur`, and I-GOS a heavily blurred one, "blur".

    Returns:
        A `Curve`.

    Example:
        >>> image, model = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]]), lambda x: x.sum((1, 2))
        >>> insertion(model, image, image, 0, step=1).scores
        array([[ 0.,  4.,  7.,  9., 10.]])
    """
    options = CurveOptions(
        substrate, step, per_channel, groups, score, batch_size, bounds, data_format
    )
    return _curves(["insertion"], model, inputs, heatmaps, targets, options)[0]


def deletion_and_insertion(
    model: Callable,
    inputs: Any,
    heatmaps: Any,
    targets: Any,
    *,
    substrate: Any = 0.0,
    step: int | None = None,
    per_channel: bool = False,
    groups: Any = None,
    score: Score | None = None,
    batch_size: int = 32,
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
) -> Curves:
    """Give both curves; the model is traced once.

    The arguments, the errors and the source are those of `deletion`. Both curves have the same
    substrate.

    Returns:
        `Curves`.

    Example:
        >>> image, model = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]]), lambda x: x.sum((1, 2))
        >>> deletion_and_insertion(model, image, image, 0, step=1).difference
        array([2.5])
    """
    options = CurveOptions(
        substrate, step, per_channel, groups, score, batch_size, bounds, data_format
    )
    return Curves(*_curves(["deletion", "insertion"], model, inputs, heatmaps, targets, options))


class CurveOptions(NamedTuple):
    """The options of `deletion`, which `insertion` shares."""

    substrate: Any
    step: int | None
    per_channel: bool
    groups: Any
    score: Score | None
    batch_size: int
    bounds: tuple[Any, Any] | None
    data_format: str | None


def _curves(
    kinds: Sequence[str],
    model: Callable,
    inputs: Any,
    heatmaps: Any,
    targets: Any,
    options: CurveOptions,
) -> list[Curve]:
    """Compute one curve for each kind, "deletion" or "insertion"."""
    groups = checked_covering(options.per_channel, options.groups)
    scored = scored_inputs(
        model, inputs, heatmaps, targets, options.score, options.data_format, argument="heatmaps"
    )
    units = _units(scored, groups, per_channel=options.per_channel)
    substrates = scored.baselines("substrate", options.substrate, options.bounds)
    chosen, count = most_important(units)
    counts = _counts(count, options.step)

    def curve(kind: str) -> Curve:
        def perturb(indices: np.ndarray, taken: np.ndarray) -> list[np.ndarray]:
            removed = chosen(indices, taken)
            kept = removed if kind == "insertion" else [~part for part in removed]
            shares = [unit.spread(part) for unit, part in zip(units, kept, strict=True)]
            return [
                _shown(share, x[indices], substrate[indices])
                for share, x, substrate in zip(shares, scored.inputs, substrates, strict=True)
            ]

        scores = score_perturbed(scored, perturb, counts, options.batch_size)
        scores = nan_where_constant(scores, [unit.values for unit in units])
        return curve_from_scores(counts / counts[-1], scores, kind)

    return [curve(kind) for kind in kinds]


def _units(scored: ScoredInputs, groups: Any, *, per_channel: bool) -> list[Units]:
    """Give what is deleted or inserted of each explained input."""
    units = []
    each = layouts(scored, groups, per_channel=per_channel)
    for label, maps, x, layout in zip(scored.labels, scored.maps, scored.inputs, each, strict=True):
        if layout.groups is None:
            units.append(cells(label, maps, x, layout))
        else:
            units.append(grouped(label, maps, x, layout, layout.groups))
    return units


def _shown(share: np.ndarray, x: np.ndarray, substrate: np.ndarray) -> np.ndarray:
    """Give inputs of which a share is shown, and else the substrate."""
    return substrate + share.astype(x.dtype) * (x - substrate)


def _counts(cells: int, step: int | None) -> np.ndarray:
    """Give how many cells are deleted or inserted at each point of a curve, from none to all."""
    size = max(1, cells // DEFAULT_STEPS)
    if step is not None:
        size = checks.positive_integer("step", step)
    return np.append(np.arange(0, cells, size), cells)
