"""The parts of an input that a mask covers: positions with all their channels, or single ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfxai.core import checks
from tfxai.core.named_inputs import for_each_input

Sizes = int | tuple[int, ...] | None
"""A number for each axis of positions, or one for all of them; None where a default is taken."""


class Layout(NamedTuple):
    """What one mask of an input looks like; it has the shape of one example's map."""

    positions: tuple[int, ...]
    """The sizes of the axes of positions: (H, W), (T,), (D, H, W), or (F,) of a table."""
    channels: int | None
    """1 if a mask covers a position with all its channels, C if it covers single channels; None
    for tables, which have none."""
    groups: np.ndarray | None = None
    """The number of each element's group, from 0 on, of the mask's shape; None without groups."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a mask, which broadcasts to an example whose channels are last."""
        return self.positions if self.channels is None else (*self.positions, self.channels)

    def zeros_for(self, x: tf.Tensor) -> tf.Tensor:
        """Give zeros of the shape of the maps of inputs ``[B, ...]``."""
        return tf.zeros([tf.shape(x)[0], *self.shape], x.dtype)

    @property
    def has_neighbours(self) -> bool:
        """Whether what is beside each other belongs together, as in images but not in tables."""
        return self.channels is not None


def layout_of(x: tf.Tensor, *, per_channel: bool = False, groups: Any = None) -> Layout:
    """Give the layout of the masks of an input.

    Args:
        x: ``[B, F]``, or ``[B, ..., C]``.
        per_channel: whether single channels are masked.
        groups: which elements are masked together, as `checked_groups` gives it; None for none.

    Raises:
        ValueError: the size of the input is not known, or the groups do not fit it.
    """
    example = tuple(x.shape[1:])
    if None in example:
        sizes = ", ".join("size" if n is None else str(n) for n in example)
        raise ValueError(
            f"a mask needs inputs of a known size, got {x.shape}: call the explainer, whose graph "
            f"is traced for each size that it is given, or put keras.Input(({sizes})) in front of "
            "the model, with its sizes"
        )
    positions, last = (example, None) if len(example) < 2 else (example[:-1], example[-1])
    if groups is not None:
        return _grouped(positions, last, groups)
    return Layout(positions, last if last is None or per_channel else 1)


def checked_covering(per_channel: bool, groups: Any) -> Any:
    """Check the options that say what is covered together; give the groups as `checked_groups`.

    Args:
        per_channel: whether single channels are covered.
        groups: which elements are covered together, for several inputs a dict by name; or None.

    Raises:
        TypeError, ValueError: an option has the wrong type, or the two contradict each other.
    """
    if not isinstance(per_channel, bool):
        raise TypeError(f"per_channel={per_channel!r}: expected True or False")
    if per_channel and groups is not None:
        raise ValueError(
            "per_channel=True with groups: leave out per_channel; groups of the whole shape of an "
            "example say which channels are masked together"
        )
    return None if groups is None else for_each_input(checked_groups, groups)


def checked_groups(groups: Any) -> np.ndarray:
    """Give groups as an array of integers, or raise.

    Raises:
        TypeError: they are no integers.
    """
    array = np.asarray(groups)
    if array.dtype.kind not in "iu" or array.ndim == 0:
        raise TypeError(
            f"groups={groups!r}: expected an array of integers, the number of each feature's "
            "group, e.g. [0, 0, 1, 2, 2] for a table of five features"
        )
    return array


def checked_sizes(name: str, value: Any) -> Sizes:
    """Give a positive integer, or a tuple of them, or None; else raise."""
    if value is None:
        return None
    if isinstance(value, tuple | list):
        return tuple(checks.positive_integer(name, n) for n in value)
    return checks.positive_integer(name, value)


def along_positions(name: str, sizes: int | tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """Give a size for each axis of positions.

    Args:
        name: the argument's name, for messages.
        sizes: one for all axes, or one for each.
        layout: the layout whose axes they are.

    Raises:
        ValueError: the number of sizes is not that of the axes.
    """
    axes = len(layout.positions)
    each = (sizes,) * axes if isinstance(sizes, int) else sizes
    if len(each) != axes:
        raise ValueError(
            f"{name}={sizes}: expected a number, or one for each axis of the {layout.positions} "
            "positions"
        )
    return each


def _grouped(positions: tuple[int, ...], channels: int | None, groups: np.ndarray) -> Layout:
    """Give the layout of masks that cover groups."""
    example = positions if channels is None else (*positions, channels)
    labels = groups
    if channels is not None and labels.ndim == len(positions):
        labels = labels[..., None]
    shape = (*positions, 1) if labels.shape[-1] == 1 and channels is not None else example
    try:
        labels = np.broadcast_to(labels, shape)
        fits = labels.ndim == groups.ndim or channels is not None
    except ValueError:
        fits = False
    if not fits or groups.ndim not in (len(positions), len(example)):
        raise ValueError(
            f"groups has shape {list(groups.shape)}: expected {list(positions)}"
            + ("" if channels is None else f", or {list(example)} for single channels")
        )
    numbers = np.unique(labels, return_inverse=True)[1].reshape(shape)
    return Layout(positions, None if channels is None else shape[-1], numbers)
