"""DepthToSpace and SpaceToDepth: blocks of pixels as channels, and channels as blocks of pixels."""

from __future__ import annotations

import keras

from ..constants import Operand
from ..layout import Value, channels_last_order
from ..onnx_graph import Node, UnsupportedError
from .windows import image_tensor


def depth_to_space(node: Node, operands: list[Operand]) -> Value:
    """DepthToSpace: a pixel's channels become a block, of which each pixel has a part of them."""
    tensor, size = _image(node, operands), node.attributes["blocksize"]
    height, width, channels = tensor.shape[1:]
    own = channels // size**2
    if node.attributes.get("mode", "DCR") == "DCR":
        parts, axes = (height, width, size, size, own), (1, 3, 2, 4, 5)
    else:
        parts, axes = (height, width, own, size, size), (1, 4, 2, 5, 3)
    return _rearranged(node, tensor, parts, axes, (height * size, width * size, own))


def space_to_depth(node: Node, operands: list[Operand]) -> Value:
    """SpaceToDepth: a block of pixels becomes one pixel, with the channels of all of them."""
    tensor, size = _image(node, operands), node.attributes["blocksize"]
    if node.attributes.get("mode", "DCR") != "DCR":
        raise UnsupportedError(node, f"mode {node.attributes['mode']!r}")
    height, width, channels = tensor.shape[1:]
    parts = (height // size, size, width // size, size, channels)
    target = (height // size, width // size, channels * size**2)
    return _rearranged(node, tensor, parts, (1, 3, 2, 4, 5), target)


def _image(node: Node, operands: list[Operand]) -> keras.KerasTensor:
    tensor = image_tensor(node, operands[0])
    if len(tensor.shape) != 4:
        raise UnsupportedError(node, f"a tensor of shape {tensor.shape}, no image")
    return tensor


def _rearranged(
    node: Node,
    tensor: keras.KerasTensor,
    parts: tuple[int, ...],
    axes: tuple[int, ...],
    target: tuple[int, ...],
) -> Value:
    """Cut the axes of an image into parts, put the parts in another order, and join them."""
    tensor = keras.layers.Reshape(parts, name=f"{node.name}_parts")(tensor)
    tensor = keras.layers.Permute(axes, name=f"{node.name}_turned")(tensor)
    tensor = keras.layers.Reshape(target, name=node.name)(tensor)
    return Value(tensor, channels_last_order(4))
