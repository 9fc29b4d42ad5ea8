"""Deletion and insertion: the score while pixels go or come, the most important first.

RISE (Petsiuk, Das and Saenko 2018, section 3.3) and paper 004, section 4; METHODS 5.5 and 5.6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai import checks, heads
from tfxai.baselines import baseline
from tfxai.interpolation import align_corners
from tfxai.tracing import traced
from tfxai.types import Score

STEPS = 50
"""Of a curve, about, unless told."""


@dataclass(frozen=True)
class Curve:
    """Scores of each image as a growing part of it has gone or come."""

    fractions: np.ndarray
    """Of the pixels, from 0 to 1, ``[n]``."""
    scores: np.ndarray
    """``[B, n]``."""
    auc: np.ndarray
    """The area under each curve by the trapezoid rule, ``[B]``."""
    name: str

    def plot(self, *, axes: Any = None) -> Any:
        """Draw each image's curve, and their mean, as `tfxai.plot.curve` does."""
        from tfxai import plot

        return plot.curve(self, axes=axes)


@dataclass(frozen=True)
class Curves:
    """Deletion and insertion of the same heatmaps."""

    deletion: Curve
    insertion: Curve

    @property
    def difference(self) -> np.ndarray:
        """Insertion less deletion, the area between the curves, ``[B]``: the more the better."""
        return self.insertion.auc - self.deletion.auc

    def plot(self, *, axes: Any = None) -> Any:
        """Draw both curves' means and the area between them."""
        from tfxai import plot

        return plot.curves(self, axes=axes)


def deletion(
    model: Callable,
    images: np.ndarray,
    heatmaps: np.ndarray,
    targets: Any,
    *,
    substrate: Any = 0.0,
    step: int | None = None,
    score: Score | None = None,
    batch_size: int = 32,
    bounds: tuple[Any, Any] | None = None,
) -> Curve:
    """Delete pixels, the most important first: the area under the score should be small.

    Args:
        model: images ``[N, H, W, C]`` -> outputs ``[N, classes]``.
        images: ``[B, H, W, C]``.
        heatmaps: one channel, ``[B, h, w, 1]`` or ``[B, h, w]``. At the images' resolution single
            pixels go; below it the cells of a mask, which is drawn larger with soft edges, as
            in I-GOS.
        targets: class indices, ``[B]`` or one for all.
        substrate: what is left where a pixel has gone, a number, an image, or "blur", "mean" ...
            as in `tfxai.baselines.baseline`; or a function that gives it, such as
            `tfxai.baselines.rise_blur`.
        step: pixels (or cells) at a time; None takes a fiftieth of them.
        score: (outputs, targets) -> ``[N]``; None takes the outputs at the targets as they
            stand. For a model that ends in logits, `tfxai.scores.probability`.
        batch_size: images that the model is given at once.
        bounds: for a substrate by name, as in `tfxai.baselines.baseline`.

    Returns:
        A `Curve`.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.

    Reference:
        METHODS 5.5 and 5.6. Pixels of equal value go in the order of rows (a stable sort), and
        both ends of the curve count, where the published codes leave out one or add to it.

    Example:
        >>> image, model = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]]), lambda x: x.sum((1, 2))
        >>> curve = deletion(model, image, image, 0, step=1)
        >>> curve.scores, curve.auc
        (array([[10.,  6.,  3.,  1.,  0.]]), array([3.75]))
    """
    rule = _Rule("deletion", substrate, step, score, batch_size, bounds)
    return _curve(rule, model, images, heatmaps, targets)


def insertion(
    model: Callable,
    images: np.ndarray,
    heatmaps: np.ndarray,
    targets: Any,
    *,
    substrate: Any = 0.0,
    step: int | None = None,
    score: Score | None = None,
    batch_size: int = 32,
    bounds: tuple[Any, Any] | None = None,
) -> Curve:
    """Insert pixels, the most important first: the area under the score should be large.

    Args:
        model: as in `deletion`.
        images: as in `deletion`.
        heatmaps: as in `deletion`.
        targets: as in `deletion`.
        substrate: what the image starts as. RISE inserts into a slightly blurred image,
            `tfxai.baselines.rise_blur`, I-GOS into a heavily blurred one, "blur".
        step: as in `deletion`.
        score: as in `deletion`.
        batch_size: as in `deletion`.
        bounds: as in `deletion`.

    Returns:
        A `Curve`.

    Raises:
        ValueError: as `deletion`.

    Reference:
        As `deletion`.

    Example:
        >>> image, model = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]]), lambda x: x.sum((1, 2))
        >>> insertion(model, image, image, 0, step=1).scores
        array([[ 0.,  4.,  7.,  9., 10.]])
    """
    rule = _Rule("insertion", substrate, step, score, batch_size, bounds)
    return _curve(rule, model, images, heatmaps, targets)


def deletion_and_insertion(
    model: Callable,
    images: np.ndarray,
    heatmaps: np.ndarray,
    targets: Any,
    *,
    substrate: Any = 0.0,
    step: int | None = None,
    score: Score | None = None,
    batch_size: int = 32,
    bounds: tuple[Any, Any] | None = None,
) -> Curves:
    """Give both curves.

    Args:
        model: as in `deletion`.
        images: as in `deletion`.
        heatmaps: as in `deletion`.
        targets: as in `deletion`.
        substrate: of both.
        step: as in `deletion`.
        score: as in `deletion`.
        batch_size: as in `deletion`.
        bounds: as in `deletion`.

    Returns:
        `Curves`.

    Raises:
        ValueError: as `deletion`.

    Example:
        >>> image, model = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]]), lambda x: x.sum((1, 2))
        >>> deletion_and_insertion(model, image, image, 0, step=1).difference
        array([2.5])
    """
    deleted, inserted = (
        _curve(
            _Rule(name, substrate, step, score, batch_size, bounds),
            model,
            images,
            heatmaps,
            targets,
        )
        for name in ("deletion", "insertion")
    )
    return Curves(deleted, inserted)


class _Rule(NamedTuple):
    """What is done to the images, and how they are scored."""

    name: str
    substrate: Any
    step: int | None
    score: Score | None
    batch_size: int
    bounds: tuple[Any, Any] | None


def _curve(rule: _Rule, model: Callable, images: Any, heatmaps: Any, targets: Any) -> Curve:
    images, maps = _checked(images, heatmaps)
    count, cells = len(images), maps.shape[1] * maps.shape[2]
    chosen = checks.targets(targets, count, None, None)
    forward = _scoring(model, rule.score, images)
    substrate = _substrate(rule, images)
    step = (
        max(1, cells // STEPS) if rule.step is None else checks.positive_integer("step", rule.step)
    )
    gone = np.append(np.arange(0, cells, step), cells)
    order = np.argsort(-maps.reshape(count, -1), axis=1, kind="stable")
    rank = np.argsort(order, axis=1).reshape(maps.shape)
    matrices = [
        align_corners(images.shape[axis], maps.shape[axis]).astype(images.dtype) for axis in (1, 2)
    ]
    size = checks.positive_integer("batch_size", rule.batch_size)
    pairs = np.stack(np.meshgrid(np.arange(count), gone, indexing="ij"), -1).reshape(-1, 2)
    scores = []
    for start in range(0, len(pairs), size):
        which, number = pairs[start : start + size].T
        taken = rank[which] < number[:, None, None]
        shown = taken if rule.name == "insertion" else ~taken
        up = np.einsum("Hh,nhw,Ww->nHW", matrices[0], shown, matrices[1], optimize=True)[..., None]
        points = substrate[which] + up * (images[which] - substrate[which])
        scores.append(forward(points, chosen[which]))
    rows = np.concatenate(scores).reshape(count, len(gone))
    fractions = gone / cells
    area = (rows[:, 1:] + rows[:, :-1]) / 2 @ np.diff(fractions)
    return Curve(fractions, rows, area, rule.name)


def _checked(images: Any, heatmaps: Any) -> tuple[np.ndarray, np.ndarray]:
    images, maps = np.asarray(images), np.asarray(heatmaps)
    if images.dtype.kind != "f":
        images = images.astype(np.float32)
    if images.ndim != 4 or images.size == 0:
        raise ValueError(f"images has shape {list(images.shape)}: expected [B, H, W, C]")
    if maps.ndim == 4 and maps.shape[-1] != 1:
        raise ValueError(
            f"heatmaps has {maps.shape[-1]} channels: say how to join them, e.g. "
            "np.abs(maps).sum(-1)"
        )
    maps = maps[..., 0] if maps.ndim == 4 else maps
    fits = maps.ndim == 3 and len(maps) == len(images)
    if not fits or any(m > n for m, n in zip(maps.shape[1:], images.shape[1:3], strict=True)):
        raise ValueError(
            f"heatmaps has shape {list(np.shape(heatmaps))}: expected [{len(images)}, h, w, 1], h "
            f"and w at most {list(images.shape[1:3])}"
        )
    for name, values in (("images", images), ("heatmaps", maps)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has NaN or infinite values")
    return images, maps


def _substrate(rule: _Rule, images: np.ndarray) -> np.ndarray:
    """Give what each image is without its pixels, ``[B, H, W, C]``."""
    given = rule.substrate
    references = given if callable(given) else baseline(given, rule.bounds)
    found = np.asarray(references(tf.constant(images)))
    if len(found) != 1:
        raise ValueError(f"substrate is a batch of {len(found)}; pass one image")
    return np.broadcast_to(found[0], images.shape)


def _scoring(
    model: Callable, score: Score | None, images: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Give (images, targets) -> scores ``[N]``; a Keras model runs as a graph, traced once."""
    if not isinstance(model, keras.Model):
        if score is None:
            return lambda x, targets: _picked(model(x), targets)
        return lambda x, targets: np.asarray(score(tf.convert_to_tensor(model(x)), targets))
    any_images = tf.TensorSpec([None, *images.shape[1:]], images.dtype)
    if score is None:
        outputs = traced(lambda x: model(x, training=False)).get_concrete_function(any_images)
        return lambda x, targets: _picked(outputs(tf.constant(x)), targets)
    scored = traced(heads.scored(model, score)).get_concrete_function(
        any_images, tf.TensorSpec([None], tf.int32)
    )
    return lambda x, targets: scored(tf.constant(x), tf.constant(targets)).numpy()


def _picked(outputs: Any, targets: np.ndarray) -> np.ndarray:
    values = np.asarray(outputs)
    if values.ndim == 1:
        return values
    if values.ndim != 2 or targets.max() >= values.shape[1]:
        raise ValueError(
            f"the model gives outputs of shape {list(values.shape)} for targets up to "
            f"{targets.max()}: expected [N, classes]"
        )
    return values[np.arange(len(values)), targets]
