"""The networks that people export from PyTorch, by hand: torchvision does not go with this build.

`width` scales the channels, so that small files can be made of them; 1 is the published network.
All have random weights and running statistics that are not those of a fresh BatchNorm.
"""

import torch
from torch import nn


def randomised(net, seed=0):
    """Give the net in evaluation mode, with statistics as after training."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor, low, high):
        tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))

    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan = module.weight[0].numel()
                module.weight.copy_(
                    torch.randn(module.weight.shape, generator=generator) * (2 / fan) ** 0.5
                )
                if module.bias is not None:
                    draw(module.bias, -0.1, 0.1)
            if isinstance(module, nn.BatchNorm2d):
                draw(module.running_mean, -0.2, 0.2)
                draw(module.running_var, 0.6, 1.6)
                draw(module.weight, 0.7, 1.3)
                draw(module.bias, -0.2, 0.2)
    return net.eval()


def conv_bn(inside, outside, kernel, *, act=nn.ReLU, eps=1e-5, **options):
    """Convolution, BatchNorm and activation; padded to keep the size unless told otherwise."""
    options = {"padding": kernel // 2 if isinstance(kernel, int) else 0, **options}
    layers = [
        nn.Conv2d(inside, outside, kernel, bias=False, **options),
        nn.BatchNorm2d(outside, eps=eps),
    ]
    return nn.Sequential(*layers, *([act(inplace=True)] if act else []))


class Flat(nn.Module):
    """As `torch.flatten` in a forward."""

    def forward(self, x):
        return torch.flatten(x, 1)


class View(nn.Module):
    """As `x.view(x.size(0), -1)` in a forward, which reads the shape."""

    def forward(self, x):
        return x.view(x.size(0), -1)


class Residual(nn.Module):
    """A body added to its input, or to what a shortcut makes of it."""

    def __init__(self, body, shortcut=None, after=None):
        super().__init__()
        self.body, self.shortcut, self.after = body, shortcut, after

    def forward(self, x):
        y = self.body(x) + (x if self.shortcut is None else self.shortcut(x))
        return y if self.after is None else self.after(y)


def vgg(depth=16, *, width=1.0, classes=1000, hidden=4096, size=224):
    """VGG16 or VGG19, with the pool to 7 x 7 and dropout."""
    repeats = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}[depth]
    layers, inside = [], 3
    for count, channels in zip(repeats, (64, 128, 256, 512, 512), strict=True):
        outside = int(channels * width)
        for _ in range(count):
            layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU(inplace=True)]
            inside = outside
        layers.append(nn.MaxPool2d(2, 2))
    side = size // 32
    hidden = int(hidden * width)
    layers += [nn.AdaptiveAvgPool2d(side), Flat(), nn.Linear(inside * side * side, hidden)]
    layers += [nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(hidden, hidden)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(hidden, classes))


def resnet(depth=18, *, width=1.0, classes=1000):
    """ResNet18 (basic blocks) or ResNet50 (bottlenecks)."""
    counts, grows = {18: ((2, 2, 2, 2), 1), 50: ((3, 4, 6, 3), 4)}[depth]
    inside = int(64 * width)
    layers = [conv_bn(3, inside, 7, stride=2), nn.MaxPool2d(3, 2, padding=1)]
    for stage, count in enumerate(counts):
        middle = int(64 * 2**stage * width)
        for i in range(count):
            stride = 2 if stage and not i else 1
            outside = middle * grows
            if grows == 1:
                body = [conv_bn(inside, middle, 3, stride=stride)]
                body += [conv_bn(middle, outside, 3, act=None)]
            else:
                body = [conv_bn(inside, middle, 1), conv_bn(middle, middle, 3, stride=stride)]
                body += [conv_bn(middle, outside, 1, act=None)]
            change = stride > 1 or inside != outside
            shortcut = conv_bn(inside, outside, 1, act=None, stride=stride) if change else None
            layers.append(Residual(nn.Sequential(*body), shortcut, nn.ReLU(inplace=True)))
            inside = outside
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), Flat(), nn.Linear(inside, classes))


class Squeezed(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels, hidden, act, gate):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce, self.act = nn.Conv2d(channels, hidden, 1), act()
        self.expand, self.gate = nn.Conv2d(hidden, channels, 1), gate()

    def forward(self, x):
        return x * self.gate(self.expand(self.act(self.reduce(self.pool(x)))))


def inverted(inside, middle, outside, kernel, stride, act, squeeze=None):
    """A bottleneck that is wide in the middle, with a depthwise convolution."""
    body = [conv_bn(inside, middle, 1, act=act)] if middle != inside else []
    body.append(conv_bn(middle, middle, kernel, act=act, stride=stride, groups=middle))
    body += [squeeze] if squeeze else []
    body = nn.Sequential(*body, conv_bn(middle, outside, 1, act=None))
    return Residual(body) if stride == 1 and inside == outside else body


def mobilenet_v2(*, width=1.0, classes=1000):
    """MobileNetV2: ReLU6."""
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1)]
    table += [(6, 160, 3, 2), (6, 320, 1, 1)]
    inside = int(32 * width)
    layers = [conv_bn(3, inside, 3, stride=2, act=nn.ReLU6)]
    for grows, channels, count, first in table:
        for i in range(count):
            outside, stride = int(channels * width), first if i == 0 else 1
            layers.append(inverted(inside, inside * grows, outside, 3, stride, nn.ReLU6))
            inside = outside
    last = int(1280 * width)
    layers += [conv_bn(inside, last, 1, act=nn.ReLU6), nn.AdaptiveAvgPool2d(1), Flat()]
    return nn.Sequential(*layers, nn.Dropout(), nn.Linear(last, classes))


def mobilenet_v3(*, width=1.0, classes=1000):
    """MobileNetV3 small: hard swish, hard sigmoid gates."""
    table = [(3, 16, 16, True, nn.ReLU, 2), (3, 72, 24, False, nn.ReLU, 2)]
    table += [(3, 88, 24, False, nn.ReLU, 1), (5, 96, 40, True, nn.Hardswish, 2)]
    table += [(5, 240, 40, True, nn.Hardswish, 1), (5, 120, 48, True, nn.Hardswish, 1)]
    table += [(5, 288, 96, True, nn.Hardswish, 2), (5, 576, 96, True, nn.Hardswish, 1)]
    inside = int(16 * width)
    layers = [conv_bn(3, inside, 3, stride=2, act=nn.Hardswish, eps=1e-3)]
    for kernel, middle, outside, squeezes, act, stride in table:
        middle, outside = int(middle * width), int(outside * width)
        squeeze = Squeezed(middle, max(middle // 4, 2), nn.ReLU, nn.Hardsigmoid)
        args = (inside, middle, outside, kernel, stride, act)
        layers.append(inverted(*args, squeeze if squeezes else None))
        inside = outside
    last, hidden = int(576 * width), int(1024 * width)
    layers += [conv_bn(inside, last, 1, act=nn.Hardswish), nn.AdaptiveAvgPool2d(1), Flat()]
    layers += [nn.Linear(last, hidden), nn.Hardswish(inplace=True), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear(hidden, classes))


def efficientnet(*, width=1.0, classes=1000):
    """EfficientNet-B0: swish, squeeze and excitation."""
    table = [(1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2)]
    table += [(6, 5, 112, 3, 1), (6, 5, 192, 4, 2), (6, 3, 320, 1, 1)]
    inside = int(32 * width)
    layers = [conv_bn(3, inside, 3, stride=2, act=nn.SiLU)]
    for grows, kernel, channels, count, first in table:
        for i in range(count):
            outside, middle = int(channels * width), inside * grows
            squeeze = Squeezed(middle, max(inside // 4, 1), nn.SiLU, nn.Sigmoid)
            stride = first if i == 0 else 1
            layers.append(inverted(inside, middle, outside, kernel, stride, nn.SiLU, squeeze))
            inside = outside
    last = int(1280 * width)
    layers += [conv_bn(inside, last, 1, act=nn.SiLU), nn.AdaptiveAvgPool2d(1), Flat()]
    return nn.Sequential(*layers, nn.Dropout(), nn.Linear(last, classes))


class DenseLayer(nn.Module):
    """A layer of DenseNet: what it makes is put behind what it has."""

    def __init__(self, inside, growth):
        super().__init__()
        first = [nn.BatchNorm2d(inside), nn.ReLU(inplace=False)]
        first += [nn.Conv2d(inside, 4 * growth, 1, bias=False)]
        second = [nn.BatchNorm2d(4 * growth), nn.ReLU(inplace=True)]
        second += [nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)]
        self.body = nn.Sequential(*first, *second)

    def forward(self, x):
        return torch.cat([x, self.body(x)], 1)


def densenet(*, counts=(6, 12, 24, 16), growth=32, start=64, classes=1000):
    """DenseNet121, with its own numbers of layers."""
    layers, inside = [conv_bn(3, start, 7, stride=2), nn.MaxPool2d(3, 2, padding=1)], start
    for i, count in enumerate(counts):
        for _ in range(count):
            layers.append(DenseLayer(inside, growth))
            inside += growth
        layers += [nn.BatchNorm2d(inside), nn.ReLU(inplace=True)]
        if i < len(counts) - 1:
            layers += [nn.Conv2d(inside, inside // 2, 1, bias=False), nn.AvgPool2d(2, 2)]
            inside //= 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), View(), nn.Linear(inside, classes))


class Shuffled(nn.Module):
    """A unit of ShuffleNet V2: half the channels pass, then all are shuffled."""

    def __init__(self, inside, outside, stride):
        super().__init__()
        self.stride, half = stride, outside // 2
        start = inside if stride > 1 else half
        self.left = None
        if stride > 1:
            depthwise = conv_bn(inside, inside, 3, act=None, stride=2, groups=inside)
            self.left = nn.Sequential(depthwise, conv_bn(inside, half, 1))
        self.right = nn.Sequential(
            conv_bn(start, half, 1),
            conv_bn(half, half, 3, act=None, stride=stride, groups=half),
            conv_bn(half, half, 1),
        )

    def forward(self, x):
        if self.left is None:
            kept, changed = x.chunk(2, dim=1)
            joined = torch.cat([kept, self.right(changed)], 1)
        else:
            joined = torch.cat([self.left(x), self.right(x)], 1)
        batch, channels, height, width = joined.shape
        pairs = joined.view(batch, 2, channels // 2, height, width).transpose(1, 2)
        return pairs.reshape(batch, channels, height, width)


def shufflenet(*, channels=(24, 116, 232, 464, 1024), counts=(4, 8, 4), classes=1000):
    """ShuffleNet V2; the mean over space is taken by `mean`, not by a pool."""
    start, *stages, last = channels
    layers, inside = [conv_bn(3, start, 3, stride=2), nn.MaxPool2d(3, 2, padding=1)], start
    for outside, count in zip(stages, counts, strict=True):
        for i in range(count):
            layers.append(Shuffled(inside, outside, 1 if i else 2))
            inside = outside
    return nn.Sequential(*layers, conv_bn(inside, last, 1), Mean(), nn.Linear(last, classes))


class Mean(nn.Module):
    """The mean over space."""

    def forward(self, x):
        return x.mean([2, 3])


class Fire(nn.Module):
    """A module of SqueezeNet."""

    def __init__(self, inside, squeezed, outside):
        super().__init__()
        self.squeeze = nn.Conv2d(inside, squeezed, 1)
        self.one = nn.Conv2d(squeezed, outside, 1)
        self.three = nn.Conv2d(squeezed, outside, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.one(x)), torch.relu(self.three(x))], 1)


def squeezenet(*, width=1.0, classes=1000):
    """SqueezeNet 1.1: its pools have windows that reach beyond the image."""

    def fire(inside, squeezed, outside):
        return Fire(*(int(n * width) for n in (inside, squeezed, outside)))

    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    layers = [nn.Conv2d(3, int(64 * width), 3, stride=2), nn.ReLU(inplace=True), pool]
    layers += [fire(64, 16, 64), fire(128, 16, 64), pool, fire(128, 32, 128), fire(256, 32, 128)]
    layers += [pool, fire(256, 48, 192), fire(384, 48, 192), fire(384, 64, 256)]
    layers += [fire(512, 64, 256), nn.Dropout(), nn.Conv2d(int(512 * width), classes, 1)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), Flat())


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of images that are channels-first."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Scaled(nn.Module):
    """A block of ConvNeXt, with its scale for each channel."""

    def __init__(self, channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 0.1))

    def forward(self, x):
        y = self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return x + self.scale * y


def convnext(*, channels=(96, 192, 384, 768), counts=(3, 3, 9, 3), classes=1000):
    """ConvNeXt tiny: LayerNorm, GELU, dense layers over images."""
    layers, inside = [], 3
    for i, (outside, count) in enumerate(zip(channels, counts, strict=True)):
        if i == 0:
            layers += [nn.Conv2d(3, outside, 4, stride=4), ChannelNorm(outside)]
        else:
            layers += [ChannelNorm(inside), nn.Conv2d(inside, outside, 2, stride=2)]
        layers += [Scaled(outside) for _ in range(count)]
        inside = outside
    layers += [nn.AdaptiveAvgPool2d(1), ChannelNorm(inside), Flat()]
    return nn.Sequential(*layers, nn.Linear(inside, classes))
