"""Where the values of an activation lie in the input, read from a traced graph.

Each value of a tensor between an input and an activation has the coordinates of the place in the
input that it stands for: rows and columns of an image, steps of a sequence. They are followed
through the operations that move values, such as a reshape of patches to tokens; a class token or a
register, which comes from no place, has NaN. So the tokens of a vision transformer are put back to
where they were, whatever the form of the image and of the patches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfxai.models.graph_axes import CHANNELS_LAST, ELEMENTWISE, FORMATTED

SHAPE_READING = {"Shape", "ShapeN", "Size", "Rank"}
"""Operations that depend on a tensor's shape only, not on its values."""
_RESAMPLING = FORMATTED | CHANNELS_LAST | {
    "Conv2DBackpropInput", "Conv3DBackpropInputV2", "Pad", "PadV2", "MirrorPad",
}  # fmt: skip
"""Operations whose outputs lie along the axes of their input, in the same order."""


def tensors_behind(image: tf.Tensor) -> set:
    """Give the references of all tensors that are computed from the values of an input."""
    reached = {image.ref()}
    for operation in image.graph.get_operations():  # created in an order of evaluation
        if operation.type not in SHAPE_READING and any(
            t.ref() in reached for t in operation.inputs
        ):
            reached.update(t.ref() for t in operation.outputs)
    return reached


class Positions(NamedTuple):
    """The places in the input that the values of a tensor stand for."""

    coordinates: tuple[np.ndarray, ...]
    """For each axis of places in the input, an array of the tensor's shape without the batch axis;
    NaN for values that stand for no place."""
    exact: bool
    """Whether every operation before is known to keep values in their places."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor without the batch axis."""
        return self.coordinates[0].shape

    def fit(self, tensor: tf.Tensor) -> bool:
        """Whether these are positions of the tensor itself, and not of one long before it."""
        return tensor.shape.rank is not None and tuple(tensor.shape[1:]) == self.shape

    def are_several(self) -> bool:
        """Whether these are several places, and not one or none."""
        return any(len(np.unique(c[~np.isnan(c)])) > 1 for c in self.coordinates)

    def by_row(self) -> list[np.ndarray]:
        """Give the smallest coordinates along the first axis; NaN for values of no place."""
        rows = [c.reshape(self.shape[0], -1) for c in self.coordinates]
        smallest = [np.where(np.isnan(r), np.inf, r).min(1) for r in rows]
        return [np.where(np.isinf(s), np.nan, s) for s in smallest]


def positions_behind(image: tf.Tensor, places: Sequence[int]) -> dict[Any, Positions]:
    """Follow the places of an input through the operations of its graph.

    Args:
        image: a symbolic input ``[B, ...]``.
        places: its axes of places, that is all but those of the batch and of the channels.

    Returns:
        The reference of a tensor -> its positions, or those of a tensor before it (`Positions.fit`
        tells); empty where the size of the input is not known.
    """
    if image.shape.rank is None or not image.shape[1:].is_fully_defined():
        return {}
    shape = tuple(image.shape[1:])
    along = [np.arange(shape[p - 1], dtype=float) for p in places]
    shaped = [c.reshape([-1] + [1] * (len(shape) - p)) for c, p in zip(along, places, strict=True)]
    coordinates = tuple(np.broadcast_to(c, shape) for c in shaped)
    reached = {image.ref(): Positions(coordinates, exact=True)}
    for operation in image.graph.get_operations():  # created in an order of evaluation
        read = [t for t in operation.inputs if t.ref() in reached]
        if read and operation.type not in SHAPE_READING:
            for output in operation.outputs:
                reached[output.ref()] = _followed(operation, output, read, reached)
    return reached


def _followed(
    operation: tf.Operation, output: tf.Tensor, read: Sequence[tf.Tensor], reached: dict
) -> Positions:
    """Give the positions of an operation's output by those of the inputs that have them."""
    before = [reached[t.ref()] for t in read]
    if output.shape.rank is None or not output.shape[1:].is_fully_defined():
        return _in_a_loop(operation, before[0])
    shape = tuple(output.shape[1:])
    fitting = [p for p, t in zip(before, read, strict=True) if p.fit(t)]
    if not fitting and operation.type == "BatchToSpaceND" and len(before[0].shape) == len(shape):
        # A dilated convolution ends, within which the batch has other places.
        return Positions(tuple(_resampled(c, shape) for c in before[0].coordinates), exact=False)
    if not fitting:
        return _row_by_row(before[0], shape)
    if operation.type == "ConcatV2":
        joined = _concatenated(operation, reached)
        return fitting[0] if joined is None else joined
    first = min(fitting, key=lambda p: (not p.exact, p.shape != shape))
    moved = _moved(operation, first, shape)
    if moved is not None and moved[0].shape == shape:
        return Positions(tuple(moved), first.exact)
    if first.shape == shape:
        return first._replace(exact=first.exact and operation.type in ELEMENTWISE)
    return _row_by_row(first, shape)


def _in_a_loop(operation: tf.Operation, positions: Positions) -> Positions:
    """Keep the positions of a sequence that a loop reads, its steps before the batch.

    The backward half of a bidirectional layer reverses the steps, which are the first axis there.
    """
    if operation.type != "ReverseV2" or _constants(operation)[1] != [0]:
        return positions
    return positions._replace(coordinates=tuple(np.flip(c, 0) for c in positions.coordinates))


def _row_by_row(positions: Positions, shape: tuple[int, ...]) -> Positions:
    """Give a tensor of as many rows the places of these rows; any other keeps those before it."""
    if len(shape) < 2 or shape[:1] != positions.shape[:1]:
        return positions
    rows = [r.reshape([-1] + [1] * (len(shape) - 1)) for r in positions.by_row()]
    return Positions(tuple(np.broadcast_to(r, shape) for r in rows), exact=False)


def _moved(
    operation: tf.Operation, positions: Positions, shape: tuple[int, ...]
) -> list[np.ndarray] | None:
    """Move coordinates as an operation moves values, None if it is not known to move them."""
    kind, coordinates = operation.type, positions.coordinates
    if kind in ("Reshape", "ExpandDims", "Squeeze"):
        keeps_batch = coordinates[0].size == np.prod(shape)
        return [c.reshape(shape) for c in coordinates] if keeps_batch else None
    if kind in _RESAMPLING and len(shape) == len(positions.shape):
        return [_resampled(c, shape) for c in coordinates]
    index = _constants(operation)
    if kind == "Transpose" and index[1] is not None and index[1][0] == 0:
        return [c.transpose([a - 1 for a in index[1][1:]]) for c in coordinates]
    if kind == "ReverseV2" and index[1] is not None:
        return [np.flip(c, tuple(a % (c.ndim + 1) - 1 for a in index[1])) for c in coordinates]
    if kind == "GatherV2" and index[1] is not None and index[2] is not None:
        axis = index[2][0] % (len(positions.shape) + 1)
        shaped = tf.get_static_value(operation.inputs[1])
        return [np.take(c, shaped, axis - 1) for c in coordinates] if axis else None
    slices = _slices(operation, index)
    return None if slices is None else [c[slices] for c in coordinates]


def _slices(operation: tf.Operation, index: list) -> tuple | None:
    """Give the Python slices of a slicing operation behind the batch axis, None if unknown."""
    if operation.type == "Slice" and index[1] is not None and index[2] is not None:
        limits = zip(index[1][1:], index[2][1:], strict=True)
        return tuple(slice(b, None if n < 0 else b + n) for b, n in limits)
    if operation.type != "StridedSlice" or None in index[1:]:
        return None
    masks = {
        name: operation.get_attr(f"{name}_mask")
        for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    parts: list[Any] = []
    for i, (begin, end, stride) in enumerate(zip(*index[1:], strict=True)):
        has = {name: bool(mask >> i & 1) for name, mask in masks.items()}
        if has["ellipsis"]:
            parts.append(...)
        elif has["new_axis"]:
            parts.append(None)
        elif has["shrink_axis"]:
            parts.append(begin)
        else:
            ends = None if has["begin"] else begin, None if has["end"] else end
            parts.append(slice(*ends, stride))
    return tuple(parts[1:]) if parts[0] == slice(None, None, 1) else None


def _concatenated(operation: tf.Operation, reached: dict) -> Positions | None:
    """Join positions along an axis."""
    tensors = operation.inputs[:-1]
    axes, rank = _constants(operation)[-1], tensors[0].shape.rank
    if axes is None or rank is None or axes[0] % rank == 0:
        return None
    if not all(t.shape[1:].is_fully_defined() for t in tensors):
        return None
    known = [reached.get(t.ref()) for t in tensors]
    known = [p if p is not None and p.fit(t) else None for p, t in zip(known, tensors, strict=True)]
    axis = axes[0] % rank - 1
    nowhere = _beside(next(p for p in known if p is not None), axis)
    parts = [
        nowhere(tuple(t.shape[1:])) if p is None else p.coordinates
        for p, t in zip(known, tensors, strict=True)
    ]
    joined = tuple(_joined(arrays, axis) for arrays in zip(*parts, strict=True))
    return Positions(joined, all(p is None or p.exact for p in known))


def _beside(positions: Positions, axis: int) -> Callable[[tuple[int, ...]], list[np.ndarray]]:
    """Give shape -> the coordinates of a tensor of no place that is joined with one of places.

    They are NaN; but channels of no place, such as those of another input, lie where the other
    channels do, which are of one place at each position.
    """
    firsts = [np.take(c, [0], axis) for c in positions.coordinates]
    pairs = zip(firsts, positions.coordinates, strict=True)
    if positions.are_several() and all(((f == c) | np.isnan(c)).all() for f, c in pairs):
        return lambda shape: [np.broadcast_to(f, shape) for f in firsts]
    return lambda shape: [np.full(shape, np.nan) for _ in firsts]


def _joined(arrays: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Concatenate arrays; those that are alike and constant along the axis take no memory."""
    size = sum(a.shape[axis] for a in arrays)
    firsts = [np.take(a, [0], axis) for a in arrays]
    alike = all(
        a.strides[axis] == 0 and (f == firsts[0]).all() for a, f in zip(arrays, firsts, strict=True)
    )
    if not alike:
        return np.concatenate(arrays, axis)
    shape = list(arrays[0].shape)
    shape[axis] = size
    compact = tuple(slice(None, 1) if s == 0 else slice(None) for s in arrays[0].strides)
    return np.broadcast_to(arrays[0][compact], shape)


def _resampled(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Interpolate an array linearly along each axis, from its first value to its last."""
    values = values[tuple(slice(None, 1) if s == 0 else slice(None) for s in values.strides)]
    for axis, size in enumerate(shape):
        old = values.shape[axis]
        if old not in (1, size):
            at = np.linspace(0, old - 1, size)
            low = np.minimum(at.astype(int), old - 2)
            weight = (at - low).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
            before, after = np.take(values, low, axis), np.take(values, low + 1, axis)
            values = before * (1 - weight) + after * weight
    return np.broadcast_to(values, shape)


def _constants(operation: tf.Operation) -> list[list[int] | None]:
    """Give the integers of each constant input, None for the others."""
    values = [tf.get_static_value(t) if t.dtype.is_integer else None for t in operation.inputs]
    return [None if v is None else np.atleast_1d(v).ravel().tolist() for v in values]
