"""EfficientNet-Lite (Tan and Le 2019) in Keras, with weights from a PyTorch state dict."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
import numpy as np


class Lite(NamedTuple):
    """One size of EfficientNet-Lite."""

    width: float
    """Factor of the numbers of channels."""
    depth: float
    """Factor of the numbers of blocks."""
    size: int
    """Height and width of the input, in pixels."""


class Stage(NamedTuple):
    """One row of the architecture: a number of inverted-residual blocks."""

    repeats: int
    kernel: int
    """Height and width of the depthwise convolution's kernel."""
    stride: int
    """Stride of the first block; the others have 1."""
    expand: int
    """Channels inside a block, as a multiple of its input's."""
    channels: int
    """Channels of the output."""


LITES = {
    "efficientnet-lite0": Lite(1.0, 1.0, 224),
    "efficientnet-lite1": Lite(1.0, 1.1, 240),
    "efficientnet-lite2": Lite(1.1, 1.2, 260),
}
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def build(name: str) -> keras.Model:
    """Build EfficientNet-Lite with random weights and a softmax head."""
    layers = keras.layers
    config = LITES[name]

    def convolution(x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
        return layers.Conv2D(
            filters, kernel, strides=stride, padding="same", use_bias=False, name=name
        )(x)

    def normalised(x: Any, name: str, *, relu: bool = True) -> Any:
        x = layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=f"{name}_bn")(x)
        return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x

    inputs = keras.Input((config.size, config.size, 3), name="image")
    x = normalised(convolution(inputs, 32, 3, 2, "stem_conv"), "stem")
    for index, (stage, first) in enumerate(_blocks(config)):
        block = f"block{index}"
        shortcut, channels = x, x.shape[-1]
        stride = stage.stride if first else 1
        if stage.expand != 1:
            x = convolution(x, channels * stage.expand, 1, 1, f"{block}_expand_conv")
            x = normalised(x, f"{block}_expand")
        x = layers.DepthwiseConv2D(
            stage.kernel, strides=stride, padding="same", use_bias=False, name=f"{block}_dw_conv"
        )(x)
        x = normalised(x, f"{block}_dw")
        x = convolution(x, stage.channels, 1, 1, f"{block}_project_conv")
        x = normalised(x, f"{block}_project", relu=False)
        if stride == 1 and channels == stage.channels:
            x = layers.Add(name=f"{block}_add")([x, shortcut])
    x = normalised(convolution(x, 1280, 1, 1, "head_conv"), "head")
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = layers.Dense(1000, name="logits")(x)
    outputs = layers.Softmax(name="probabilities")(x)
    return keras.Model(inputs, outputs, name=name.replace("-", "_"))


def set_weights(model: keras.Model, state: dict[str, np.ndarray]) -> None:
    """Set the weights from a PyTorch state dict.

    Raises:
        ValueError: the state dict has an entry that no layer takes.
    """
    remaining = {k for k in state if not k.endswith("num_batches_tracked")}

    def take(*names: str) -> list[np.ndarray]:
        remaining.difference_update(names)
        return [state[n] for n in names]

    def normalisation(layer: str, source: str) -> None:
        parts = ("weight", "bias", "running_mean", "running_var")
        model.get_layer(layer).set_weights(take(*(f"{source}.{p}" for p in parts)))

    def convolution(layer: str, source: str, order: tuple[int, ...] = (2, 3, 1, 0)) -> None:
        (kernel,) = take(f"{source}.weight")
        model.get_layer(layer).set_weights([kernel.transpose(order)])

    convolution("stem_conv", "_conv_stem")
    normalisation("stem_bn", "_bn0")
    convolution("head_conv", "_conv_head")
    normalisation("head_bn", "_bn1")
    kernel, bias = take("_fc.weight", "_fc.bias")
    model.get_layer("logits").set_weights([kernel.T, bias])
    for i in range(sum(layer.name.endswith("dw_conv") for layer in model.layers)):
        source, block = f"_blocks.{i}", f"block{i}"
        if f"{source}._expand_conv.weight" in state:
            convolution(f"{block}_expand_conv", f"{source}._expand_conv")
            normalisation(f"{block}_expand_bn", f"{source}._bn0")
        convolution(f"{block}_dw_conv", f"{source}._depthwise_conv", (2, 3, 0, 1))
        normalisation(f"{block}_dw_bn", f"{source}._bn1")
        convolution(f"{block}_project_conv", f"{source}._project_conv")
        normalisation(f"{block}_project_bn", f"{source}._bn2")
    if remaining:
        raise ValueError(
            f"The weights file has entries without a place in {model.name}: {sorted(remaining)}"
        )


def _blocks(config: Lite) -> list[tuple[Stage, bool]]:
    """Give each block's stage, and whether it is the first there; outer stages keep their depth."""
    blocks = []
    for i, stage in enumerate(STAGES):
        fixed = i in (0, len(STAGES) - 1)
        repeats = stage.repeats if fixed else math.ceil(stage.repeats * config.depth)
        scaled = stage._replace(channels=_round_channels(stage.channels, config.width))
        blocks += [(scaled, j == 0) for j in range(repeats)]
    return blocks


def _round_channels(channels: int, width: float) -> int:
    """Scale, and round to a multiple of 8 that is at least 90 % of the scaled number."""
    if width == 1.0:
        return channels
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded
