"""Exports by both of PyTorch's exporters."""

import warnings

import inception
import nets
import sequences
import torch
from torch import nn

NETS = {
    "vgg16": lambda **small: nets.vgg(16, **small),
    "vgg19": lambda **small: nets.vgg(19, **small),
    "resnet18": lambda **small: nets.resnet(18, **small),
    "resnet50": lambda **small: nets.resnet(50, **small),
    "inception_v3": inception.inception_v3,
    "mobilenet_v2": nets.mobilenet_v2,
    "mobilenet_v3": nets.mobilenet_v3,
    "efficientnet": nets.efficientnet,
    "densenet": nets.densenet,
    "shufflenet": nets.shufflenet,
    "squeezenet": nets.squeezenet,
    "convnext": nets.convnext,
    "vit": sequences.ViT,
    "deit": lambda **small: sequences.ViT(tokens=2, **small),
    "swin": sequences.Swin,
    "encoder": sequences.Encoder,
    "lstm": lambda **small: sequences.Recurrent(nn.LSTM, num_layers=2, bidirectional=True, **small),
    "gru": lambda **small: sequences.Recurrent(nn.GRU, **small),
    "unet": sequences.UNet,
}
SIZES = {"inception_v3": 299}
"""Pixels; 224 for all others."""
SMALL = {
    "vgg16": {"width": 1 / 32, "size": 32},
    "vgg19": {"width": 1 / 32, "size": 32},
    "resnet18": {"width": 1 / 16},
    "resnet50": {"width": 1 / 32},
    "inception_v3": {"width": 1 / 32},
    "mobilenet_v2": {"width": 1 / 8},
    "mobilenet_v3": {"width": 1 / 8},
    "efficientnet": {"width": 1 / 16},
    "densenet": {"counts": (2, 2, 2, 2), "growth": 4, "start": 8},
    "shufflenet": {"channels": (8, 16, 24, 32, 40), "counts": (2, 2, 2)},
    "squeezenet": {"width": 1 / 8},
    "convnext": {"channels": (8, 12, 16, 20), "counts": (1, 1, 1, 1)},
}
SMALL_SIZES = {"inception_v3": 75, "squeezenet": 40}
"""32 for all others."""
IN_FILES = ("vit", "swin", "encoder", "lstm")
"""Of the nets that are always small, those that are among the files of tests."""


def small(name):
    """Give a net with few channels and 7 classes, and an image for it."""
    net = nets.randomised(NETS[name](classes=7, **SMALL.get(name, {})))
    return net, image(SMALL_SIZES.get(name, 32))


def image(size):
    """Give two images of normal noise; dynamo takes a batch of one for a constant."""
    return torch.randn((2, 3, size, size), generator=torch.Generator().manual_seed(1))


def export(net, example, path, *, dynamo, dynamic=True, opset=None, folded=True):
    """Write a file; `dynamic` leaves the size of the batch open.

    Both exporters fold BatchNorm into convolutions, which rounds the weights, unless told not to.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"dynamo": dynamo, "input_names": ["image"], "output_names": ["logits"]}
        if opset:
            options["opset_version"] = opset
        if dynamo:
            if dynamic:
                options["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
            options["optimize"] = folded
            torch.onnx.export(net, (example,), path, verbose=False, **options)
        else:
            if dynamic:
                options["dynamic_axes"] = {"image": {0: "batch"}, "logits": {0: "batch"}}
            torch.onnx.export(net, (example,), path, **options)
