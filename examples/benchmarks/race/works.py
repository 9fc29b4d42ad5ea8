"""The work of the race: which maps, of which networks, with which settings, for every library."""

import numpy as np

TARGET = 7
STEPS = 50
SAMPLES = 50
NOISE = 0.3
"""The standard deviation of SmoothGrad's noise; the images lie within [-1, 1]."""
PATCH = 32
"""Side and stride of occlusion's patches, in pixels: 49 images to be scored."""
GRID = 7

WORKS = ("gradient", "ig", "smoothgrad", "guided", "grad_cam", "occlusion", "rise")
RANDOM = ("smoothgrad", "rise")
"""Works whose maps depend on random numbers: those of two libraries are not compared."""
BATCHED = ("ig", "smoothgrad", "occlusion", "rise")
"""Works of many evaluations an image, whose rows a library takes some at a time."""
CAM_LAYERS = {
    "ResNet50": "conv5_block3_out",
    "VGG16": "block5_conv3",
    "MobileNetV2": "out_relu",
    "efficientnet-lite0": "head_relu",
}
MODELS = (*CAM_LAYERS, "ViT")
WITHOUT_CHANNELS_AND_RECTIFIERS = {"ViT": ("guided", "grad_cam")}
"""Works that a network has nothing for."""


def images(count: int) -> np.ndarray:
    """Give the images ``[count, 224, 224, 3]``, float32 within [-1, 1]; always the same ones."""
    uniform = np.random.default_rng(0).uniform(-1, 1, (count, 224, 224, 3))
    return uniform.astype("float32")


def has(model: str, work: str) -> bool:
    """Tell whether the work can be done for the network."""
    return work not in WITHOUT_CHANNELS_AND_RECTIFIERS.get(model, ())
