"""Every family of keras.applications at its smallest, and at its smallest input that works.

They are explained in float64. In float32 rounding switches a few ReLUs of a deep network that is
not trained, and two right gradients differ by some percent.
"""

import functools

import keras
from network import Network

CLASSES = 7


def application(name, size, **options):
    def build(head):
        return getattr(keras.applications, name)(
            weights=None,
            classes=CLASSES,
            input_shape=(size, size, 3),
            classifier_activation="softmax" if head else None,
            **options,
        )

    return build


def network(name, size=32, scale=(0.0, 1.0), **options):
    shape = (size, size, 3)
    build = functools.partial(application, name, size, **options)()
    return Network(build, shape, "applications", "float64", scale=scale, tolerance=1e-4)


PIXELS = (128.0, 50.0)
NETWORKS = {
    "VGG16": network("VGG16"),
    "ResNet50": network("ResNet50"),
    "ResNet50V2": network("ResNet50V2"),
    "DenseNet121": network("DenseNet121"),
    "InceptionV3": network("InceptionV3", 75),
    "InceptionResNetV2": network("InceptionResNetV2", 75),
    "Xception": network("Xception", 71),
    "MobileNet": network("MobileNet", alpha=0.25),
    "MobileNetV2": network("MobileNetV2", alpha=0.35),
    "MobileNetV3Small": network("MobileNetV3Small", scale=PIXELS, alpha=0.75),
    "NASNetMobile": network("NASNetMobile"),
    "EfficientNetB0": network("EfficientNetB0", scale=PIXELS),
    "EfficientNetV2B0": network("EfficientNetV2B0", scale=PIXELS),
    "ConvNeXtTiny": network("ConvNeXtTiny", scale=PIXELS),
}
