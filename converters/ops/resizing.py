"""Resizing of images."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np

from tfxai.models.converted_layers import apply_with_constant

from ..constants import Operand, PerBatch, fold
from ..layout import Value, channels_last_order, tensor_in_order
from ..onnx_graph import Node, UnsupportedError
from .operands import expect_value


def resize(node: Node, operands: list[Operand]) -> Value:
    """Resize, and its predecessor Upsample, of images: by whole factors as UpSampling2D does it.

    All other ways are products with a matrix along each axis in space: a resize is linear.
    """
    value = expect_value(node, operands[0])
    given = _given(node, operands, value)
    scales = _scales(given, value)
    order = channels_last_order(4)
    if value.rank != 4 or scales[:2] != [1, 1]:
        raise UnsupportedError(node, f"it resizes {value.shape} by {scales}, not an image")
    tensor = tensor_in_order(value, order, node)
    factors = [int(scale) for scale in scales[2:]]
    mode = node.attributes.get("mode", "nearest")
    if factors == scales[2:] and _is_as_keras(node, mode):
        interpolation = "nearest" if mode == "nearest" else "bilinear"
        layer = keras.layers.UpSampling2D(factors, interpolation=interpolation, name=node.name)
        return Value(layer(tensor), order)
    if None in tensor.shape[1:]:
        raise UnsupportedError(node, "sizes are not known", "pass input_shape= to from_onnx")
    height, width, channels = tensor.shape[1:]
    rows, columns = (_matrix(node, given, axis, size) for axis, size in ((2, height), (3, width)))
    name = node.name
    tensor = keras.layers.Reshape((height, width * channels), name=f"{name}_rows")(tensor)
    tensor = apply_with_constant("matmul", tensor, rows, first=True, name=f"{name}_height")
    tensor = keras.layers.Reshape((len(rows), width, channels), name=f"{name}_image")(tensor)
    return Value(apply_with_constant("matmul", tensor, columns, first=True, name=name), order)


def _is_as_keras(node: Node, mode: str) -> bool:
    """Say whether UpSampling2D places and rounds as the node does, by whole factors."""
    is_old = _is_old(node)
    coordinates = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    coordinates = "asymmetric" if is_old else coordinates
    rounding = node.attributes.get("nearest_mode", "floor" if is_old else "round_prefer_floor")
    if mode == "nearest":
        rounds = rounding in ("round_prefer_floor", "round_prefer_ceil")
        return (coordinates == "half_pixel" and rounds) or (
            coordinates == "asymmetric" and rounding == "floor"
        )
    return mode == "linear" and coordinates in ("half_pixel", "pytorch_half_pixel")


def _is_old(node: Node) -> bool:
    """Say whether a node has neither a region nor a way of placing pixels."""
    return node.op == "Upsample" or node.opset < 11


class _Given(NamedTuple):
    """How large an image becomes; one of the two is given, for each axis of the file's tensor."""

    scales: list[float] | None
    sizes: list[int] | None


def _given(node: Node, operands: list[Operand], value: Value) -> _Given:
    """Give the scales or sizes of a node; the batch stays as large as it is."""
    for name, other in (("keep_aspect_ratio_policy", "stretch"), ("antialias", 0)):
        if node.attributes.get(name, other) != other:
            raise UnsupportedError(node, f"{name}={node.attributes[name]!r}")
    if node.attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise UnsupportedError(node, "a region that is cut out")
    axes = [axis % value.rank for axis in node.attributes.get("axes") or range(value.rank)]
    for i, operand in enumerate(operands[1:] if _is_old(node) else operands[2:]):
        array = operand.arrays[0] if isinstance(operand, PerBatch) else operand
        if not isinstance(array, np.ndarray) or not array.size:
            continue
        numbers = dict(zip(axes, array.tolist(), strict=True))
        if i == 0:
            return _Given([numbers.get(axis, 1.0) for axis in range(value.rank)], None)
        known = [1 if axis == value.batch else n or 0 for axis, n in enumerate(value.shape)]
        numbers.pop(value.batch, None)
        return _Given(None, [numbers.get(axis, n) for axis, n in enumerate(known)])
    raise UnsupportedError(node, "scales that are computed from the input")


def _scales(given: _Given, value: Value) -> list[float]:
    """Give by how much each axis grows."""
    if given.scales is not None:
        return given.scales
    sizes = given.sizes or []
    return [n / (old or n) for n, old in zip(sizes, value.shape, strict=True)]


def _matrix(node: Node, given: _Given, axis: int, size: int) -> np.ndarray:
    """Give what the node does along an axis, ``[new, old]``: its columns are resized pixels."""
    if given.scales is not None:
        numbers = np.array([1.0] * 4, np.float32)
        numbers[axis] = given.scales[axis]
    else:
        numbers = np.array([1, 1, size, size])
        numbers[axis] = (given.sizes or [])[axis]
    operands = {"image": np.eye(size, dtype=np.float32)[None, None], "numbers": numbers}
    absent = ["region", *([] if given.sizes is None else ["scales"])]  # opset 11 wants them empty
    operands |= dict.fromkeys([] if _is_old(node) else absent, np.zeros(0, np.float32))
    names = ["image", *([] if _is_old(node) else absent), "numbers"]
    attributes = {name: a for name, a in node.attributes.items() if name not in ("axes", "scales")}
    single = node._replace(inputs=tuple(names), outputs=("resized",), attributes=attributes)
    (resized,) = fold(single, [operands[name] for name in names])
    matrix = np.asarray(resized)[0, 0]
    return matrix if axis == 2 else matrix.T
