"""Transformers, recurrences and a U-Net, by hand, small: what reshapes, repeats and remembers."""

import torch
from torch import nn
from torch.nn import functional


class Attention(nn.Module):
    """Self-attention of tokens ``[B, N, C]``; with a bias for each pair where one is given."""

    def __init__(self, channels, heads, tokens=None):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.bias = None
        if tokens:
            self.bias = nn.Parameter(torch.linspace(-1, 1, heads * tokens**2))

    def forward(self, x, mask=None):
        batch, count, channels = x.shape
        qkv = self.qkv(x).reshape(batch, count, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.bias is None:
            mixed = functional.scaled_dot_product_attention(q, k, v)
        else:
            scores = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
            scores = scores + self.bias.view(1, self.heads, count, count)
            if mask is not None:
                windows = len(mask)
                scores = scores.view(-1, windows, self.heads, count, count)
                scores = scores + mask.unsqueeze(1).unsqueeze(0)
                scores = scores.view(-1, self.heads, count, count)
            mixed = scores.softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(batch, count, channels))


class Block(nn.Module):
    """A block of a transformer: attention, then an MLP, each behind its normalisation."""

    def __init__(self, channels, heads, approximate="none"):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(channels), nn.LayerNorm(channels)])
        self.attention = Attention(channels, heads)
        act = nn.GELU(approximate=approximate)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels), act, nn.Linear(2 * channels, channels)
        )

    def forward(self, x):
        x = x + self.attention(self.norms[0](x))
        return x + self.mlp(self.norms[1](x))


class ViT(nn.Module):
    """ViT, with a class token; DeiT with one more token and a head of its own for it."""

    def __init__(self, *, channels=24, heads=3, depth=2, patch=8, size=32, classes=7, tokens=1):
        super().__init__()
        self.patches = nn.Conv2d(3, channels, patch, stride=patch)
        self.tokens = nn.Parameter(torch.linspace(-1, 1, tokens * channels).view(1, tokens, -1))
        count = (size // patch) ** 2 + tokens
        positions = torch.sin(torch.arange(count * channels)).view(1, count, channels)
        self.positions = nn.Parameter(positions)
        kinds = ("none", "tanh")
        self.blocks = nn.Sequential(*(Block(channels, heads, kinds[i % 2]) for i in range(depth)))
        self.norm = nn.LayerNorm(channels)
        self.heads = nn.ModuleList(nn.Linear(channels, classes) for _ in range(tokens))

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.tokens.expand(x.shape[0], -1, -1), x], 1) + self.positions
        x = self.norm(self.blocks(x))
        return sum(head(x[:, i]) for i, head in enumerate(self.heads)) / len(self.heads)


class Windows(nn.Module):
    """A block of Swin: attention in windows, which are shifted or not; ``[B, H, W, C]``."""

    def __init__(self, channels, heads, *, side, window, shift):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm, self.attention = nn.LayerNorm(channels), Attention(channels, heads, window**2)
        mask = torch.zeros((side // window) ** 2, window**2, window**2)
        mask[-1, :, : window**2 // 2] = -100.0
        self.register_buffer("mask", mask if shift else None)

    def forward(self, x):
        batch, height, width, channels = x.shape
        size = self.window
        y = self.norm(x)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        y = y.view(batch, height // size, size, width // size, size, channels)
        y = y.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, size * size, channels)
        y = self.attention(y, self.mask)
        y = y.view(-1, height // size, width // size, size, size, channels)
        y = y.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, height, width, channels)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        return x + y


class Swin(nn.Module):
    """Two blocks of Swin, and patches that are merged."""

    def __init__(self, *, channels=12, classes=7, size=32):
        super().__init__()
        self.patches = nn.Conv2d(3, channels, 4, stride=4)
        side = size // 4
        self.blocks = nn.Sequential(
            Windows(channels, 2, side=side, window=4, shift=0),
            Windows(channels, 2, side=side, window=4, shift=2),
        )
        self.norm = nn.LayerNorm(4 * channels)
        self.merge = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.head = nn.Linear(2 * channels, classes)

    def forward(self, x):
        x = self.blocks(self.patches(x).permute(0, 2, 3, 1))
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 4, 2, 5)
        return self.head(self.merge(self.norm(x.flatten(3))).mean((1, 2)))


class Encoder(nn.Module):
    """PyTorch's own layer of a transformer, on the rows of an image."""

    def __init__(self, *, classes=7, size=32):
        super().__init__()
        self.rows = nn.Linear(3 * size, 16)
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        rows = self.rows(x.permute(0, 2, 1, 3).flatten(2))
        return self.head(self.layer(rows).mean(1))


class Recurrent(nn.Module):
    """A recurrence over the rows of an image."""

    def __init__(self, kind, *, classes=7, size=32, **options):
        super().__init__()
        self.recurrence = kind(3 * size, 8, batch_first=True, **options)
        self.head = nn.Linear(16 if options.get("bidirectional") else 8, classes)

    def forward(self, x):
        states, _ = self.recurrence(x.permute(0, 2, 1, 3).flatten(2))
        return self.head(states[:, -1])


class UNet(nn.Module):
    """A U-Net: transposed convolutions, instance and group normalisation."""

    def __init__(self, *, classes=7):
        super().__init__()
        first = [nn.Conv2d(3, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.ReLU()]
        down = [nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.InstanceNorm2d(8, affine=True)]
        self.first, self.down = nn.Sequential(*first), nn.Sequential(*down, nn.GELU())
        self.up = nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1)
        self.last = nn.ConvTranspose2d(12, 6, 3, stride=2, padding=1, output_padding=1, groups=2)
        self.head = nn.Conv2d(6, classes, 1)

    def forward(self, x):
        first = self.first(x)
        return self.head(self.last(torch.cat([first, self.up(self.down(first))], 1)))
