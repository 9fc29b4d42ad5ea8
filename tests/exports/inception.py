"""InceptionV3, by hand, with its own normalisation of the input (`transform_input`)."""

import torch
from nets import Flat, conv_bn
from torch import nn


class Branches(nn.Module):
    """Branches of one input, side by side."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class Transformed(nn.Module):
    """ImageNet's normalisation undone, channel by channel, for the one that Inception wants."""

    def forward(self, x):
        means, deviations = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        channels = [
            torch.unsqueeze(x[:, i], 1) * (deviations[i] / 0.5) + (means[i] - 0.5) / 0.5
            for i in range(3)
        ]
        return torch.cat(channels, 1)


def inception_v3(*, width=1.0, classes=1000, transform_input=True):
    """Give the network; without its auxiliary classifier, which only training has."""

    def block(inside, *layers):
        """Convolutions by (channels, kernel, options)."""
        found = []
        for outside, kernel, options in layers:
            around = {"padding": tuple(k // 2 for k in kernel), **options}
            found.append(conv_bn(inside, int(outside * width), kernel, eps=1e-3, **around))
            inside = int(outside * width)
        return nn.Sequential(*found)

    one, three, five = (1, 1), (3, 3), (5, 5)
    row, column = (1, 7), (7, 1)
    down = {"stride": 2, "padding": 0}

    def pooled(inside, outside):
        return nn.Sequential(nn.AvgPool2d(3, 1, padding=1), block(inside, (outside, one, {})))

    def a(inside, features):
        return Branches(
            block(inside, (64, one, {})),
            block(inside, (48, one, {}), (64, five, {})),
            block(inside, (64, one, {}), (96, three, {}), (96, three, {})),
            pooled(inside, features),
        )

    def b(inside):
        return Branches(
            block(inside, (384, three, down)),
            block(inside, (64, one, {}), (96, three, {}), (96, three, down)),
            nn.MaxPool2d(3, 2),
        )

    def c(inside, m):
        long = [(m, one, {}), (m, column, {}), (m, row, {}), (m, column, {}), (192, row, {})]
        return Branches(
            block(inside, (192, one, {})),
            block(inside, (m, one, {}), (m, row, {}), (192, column, {})),
            block(inside, *long),
            pooled(inside, 192),
        )

    def d(inside):
        long = [(192, one, {}), (192, row, {}), (192, column, {}), (192, three, down)]
        return Branches(
            block(inside, (192, one, {}), (320, three, down)),
            block(inside, *long),
            nn.MaxPool2d(3, 2),
        )

    def e(inside):
        w = int(384 * width)
        split = [Branches(block(w, (384, (1, 3), {})), block(w, (384, (3, 1), {})))]
        again = [Branches(block(w, (384, (1, 3), {})), block(w, (384, (3, 1), {})))]
        return Branches(
            block(inside, (320, one, {})),
            nn.Sequential(block(inside, (384, one, {})), *split),
            nn.Sequential(block(inside, (448, one, {}), (384, three, {})), *again),
            pooled(inside, 192),
        )

    def scaled(*channels):
        return sum(int(n * width) for n in channels)

    stem = block(3, (32, three, down), (32, three, {"padding": 0}), (64, three, {}))
    more = block(scaled(64), (80, one, {}), (192, three, {"padding": 0}))
    first = [a(scaled(192), 32), a(scaled(64, 64, 96, 32), 64), a(scaled(64, 64, 96, 64), 64)]
    middle = scaled(384, 96) + scaled(64, 64, 96, 64)
    seconds = [c(middle, 128)] + [c(scaled(192, 192, 192, 192), m) for m in (160, 160, 192)]
    last = scaled(320, 192) + scaled(192, 192, 192, 192)
    whole = scaled(320, 384, 384, 384, 384, 192)
    layers = [Transformed()] if transform_input else []
    layers += [stem, nn.MaxPool2d(3, 2), more, nn.MaxPool2d(3, 2), *first]
    layers += [b(scaled(64, 64, 96, 64)), *seconds, d(scaled(192, 192, 192, 192))]
    layers += [e(last), e(whole), nn.AdaptiveAvgPool2d(1), nn.Dropout(), Flat()]
    return nn.Sequential(*layers, nn.Linear(whole, classes))
