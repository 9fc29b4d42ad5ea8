"""Images that grow by whole factors."""

from __future__ import annotations

import keras
import numpy as np

from ..constants import Operand, PerBatch
from ..layout import Value, channels_last, ordered
from ..onnx_graph import Node, UnsupportedError
from .elementwise import tensor_of


def resize(node: Node, operands: list[Operand]) -> Value:
    """Resize, and Upsample before it: images by whole factors."""
    value = tensor_of(node, operands[0])
    factors = _factors(node, operands, value)
    mode = node.attributes.get("mode", "nearest")
    old = node.op == "Upsample" or node.opset < 11
    where = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    where = "asymmetric" if old else where
    rounding = node.attributes.get("nearest_mode", "floor" if old else "round_prefer_floor")
    if mode == "nearest":
        known = where == "half_pixel" or (where == "asymmetric" and rounding == "floor")
    else:
        known = mode == "linear" and where in ("half_pixel", "pytorch_half_pixel")
    if not known or value.rank != 4 or factors[:2] != [1, 1]:
        raise UnsupportedError(node, f"mode {mode!r}, {where!r}, by {factors}")
    interpolation = "nearest" if mode == "nearest" else "bilinear"
    tensor = ordered(value, channels_last(4), node)
    layer = keras.layers.UpSampling2D(factors[2:], interpolation=interpolation, name=node.name)
    return Value(layer(tensor), channels_last(4))


def _factors(node: Node, operands: list[Operand], value: Value) -> list[int]:
    """Give by how much each axis grows; the batch does not."""
    given = operands[1:] if node.op == "Upsample" or node.opset < 11 else operands[2:]
    for operand, divisor in zip(given, ([1] * value.rank, value.shape), strict=False):
        array = operand.arrays[0] if isinstance(operand, PerBatch) else operand
        if isinstance(array, np.ndarray) and array.size:
            old = [d or 1 for d in divisor[1:]]
            factors = [1, *(float(n) / d for n, d in zip(array[1:], old, strict=True))]
            if all(factor == int(factor) for factor in factors):
                return [int(factor) for factor in factors]
            raise UnsupportedError(node, f"it resizes by {factors}, no whole factors")
    raise UnsupportedError(node, "scales that are computed from the input")
