"""Resizing of images by whole factors."""

from __future__ import annotations

import keras
import numpy as np

from ..constants import Operand, PerBatch
from ..layout import Value, channels_last_order, tensor_in_order
from ..onnx_graph import Node, UnsupportedError
from .operands import expect_value


def resize(node: Node, operands: list[Operand]) -> Value:
    """Resize, and its predecessor Upsample, of images by whole factors."""
    value = expect_value(node, operands[0])
    factors = _factors(node, operands, value)
    mode = node.attributes.get("mode", "nearest")
    is_old = node.op == "Upsample" or node.opset < 11
    coordinates = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    coordinates = "asymmetric" if is_old else coordinates
    rounding = node.attributes.get("nearest_mode", "floor" if is_old else "round_prefer_floor")
    if mode == "nearest":
        rounds = rounding in ("round_prefer_floor", "round_prefer_ceil")
        is_known = (coordinates == "half_pixel" and rounds) or (
            coordinates == "asymmetric" and rounding == "floor"
        )
    else:
        is_known = mode == "linear" and coordinates in ("half_pixel", "pytorch_half_pixel")
    if not is_known or value.rank != 4 or factors[:2] != [1, 1]:
        raise UnsupportedError(node, f"mode {mode!r}, {coordinates!r}, by {factors}")
    interpolation = "nearest" if mode == "nearest" else "bilinear"
    tensor = tensor_in_order(value, channels_last_order(4), node)
    layer = keras.layers.UpSampling2D(factors[2:], interpolation=interpolation, name=node.name)
    return Value(layer(tensor), channels_last_order(4))


def _factors(node: Node, operands: list[Operand], value: Value) -> list[int]:
    """Give the factor by which each axis of the file's tensor grows; 1 for the batch.

    They are an input, or follow from an input with the target's sizes.
    """
    has_no_region = node.op == "Upsample" or node.opset < 11
    scales_and_sizes = operands[1:] if has_no_region else operands[2:]
    divisors = ([1] * value.rank, value.shape)
    for operand, divisor in zip(scales_and_sizes, divisors, strict=False):
        array = operand.arrays[0] if isinstance(operand, PerBatch) else operand
        if isinstance(array, np.ndarray) and array.size:
            factors = [1.0] * value.rank
            for axis, n in zip(_axes(node, value), array, strict=True):
                if axis != value.batch:
                    factors[axis] = float(n) / (divisor[axis] or 1)
            if all(factor == int(factor) for factor in factors):
                return [int(factor) for factor in factors]
            raise UnsupportedError(node, f"it resizes by {factors}, no whole factors")
    raise UnsupportedError(node, "scales that are computed from the input")


def _axes(node: Node, value: Value) -> list[int]:
    """Give the axes that scales or sizes are given for."""
    policy = node.attributes.get("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        raise UnsupportedError(node, f"keep_aspect_ratio_policy={policy!r}")
    axes = node.attributes.get("axes") or range(value.rank)
    return [axis % value.rank for axis in axes]
