"""A Keras network, as `keras_networks.py` writes it, in PyTorch: each layer with its weights."""

import json
import operator

import numpy as np
import torch
from torch import fx, nn
from torch.nn.functional import scaled_dot_product_attention


def read(folder, name, *, inplace):
    """Read a network ``[B, 3, H, W]`` -> logits; its ReLUs overwrite their inputs if `inplace`."""
    layers = json.loads((folder / f"{name}.json").read_text())
    weights = np.load(folder / f"{name}.npz")
    return Translation(layers, weights, inplace).network()


def activations(network, layer):
    """Give the module that computes the outputs of a Keras layer."""
    modules = dict(network.named_modules())
    return modules[f"{layer}_activation" if f"{layer}_activation" in modules else layer]


def tensors_into(node):
    """Give the names and shapes of the tensors that go into a layer's node, in their order."""
    if isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            return [(node["config"]["keras_history"][0], node["config"]["shape"])]
        return [tensor for value in node.values() for tensor in tensors_into(value)]
    if isinstance(node, list | tuple):
        return [tensor for value in node for tensor in tensors_into(value)]
    return []


def same_padding(size, kernel, stride):
    """Give the zeros before and after a dimension for TensorFlow's padding "same"."""
    missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return missing // 2, missing - missing // 2


class Attention(nn.Module):
    """Self-attention of several heads."""

    def __init__(self, arrays):
        super().__init__()
        q, q_bias, k, k_bias, v, v_bias, out, out_bias = map(torch.from_numpy, arrays)
        width, self.heads, size = q.shape
        self.project = nn.Linear(width, 3 * self.heads * size)
        self.out = nn.Linear(self.heads * size, width)
        with torch.no_grad():
            self.project.weight.copy_(torch.cat([w.reshape(width, -1).T for w in (q, k, v)]))
            self.project.bias.copy_(torch.cat([b.reshape(-1) for b in (q_bias, k_bias, v_bias)]))
            self.out.weight.copy_(out.reshape(-1, width).T)
            self.out.bias.copy_(out_bias)

    def forward(self, x):
        """Map ``[B, T, width]`` to the same shape."""
        batch, length, _ = x.shape
        projected = self.project(x).reshape(batch, length, 3, self.heads, -1)
        q, k, v = projected.permute(2, 0, 3, 1, 4)
        y = scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(batch, length, -1))


class Positions(nn.Module):
    """Adds a vector to each position."""

    def __init__(self, array):
        super().__init__()
        self.positions = nn.Parameter(torch.from_numpy(array))

    def forward(self, x):
        """Add it."""
        return x + self.positions


class Sequence(nn.Module):
    """Makes a sequence of the positions of an image."""

    def forward(self, x):
        """Map ``[B, C, H, W]`` to ``[B, H W, C]``."""
        return x.flatten(2).transpose(1, 2)


class MeanOver(nn.Module):
    """The mean over some dimensions."""

    def __init__(self, *dimensions):
        super().__init__()
        self.dimensions = dimensions

    def forward(self, x):
        """Take it."""
        return x.mean(self.dimensions)


class Translation:
    """Builds a PyTorch module from the layers; one method a class of layers."""

    def __init__(self, layers, weights, inplace):
        self.layers, self.weights, self.inplace = layers, weights, inplace
        self.graph, self.root = fx.Graph(), nn.Module()
        self.nodes, self.padding, self.flattened = {}, {}, {}

    def network(self):
        """Give the module."""
        for layer in self.layers:
            name = layer["name"]
            inputs = [tensor for node in layer["inbound_nodes"] for tensor in tensors_into(node)]
            translate = getattr(self, layer["class_name"], None)
            if translate is None:
                raise NotImplementedError(f"{name}: no translation of {layer['class_name']}")
            names, shapes = [n for n, _ in inputs], [shape for _, shape in inputs]
            arrays = []
            while f"{name}/{len(arrays)}" in self.weights:
                arrays.append(self.weights[f"{name}/{len(arrays)}"])
            self.nodes[name] = translate(name, layer["config"], names, shapes, arrays)
        self.graph.output(self.nodes[name])
        return fx.GraphModule(self.root, self.graph)

    def _call(self, name, module, node):
        self.root.add_module(name, module)
        return self.graph.call_module(name, (node,))

    def _activated(self, name, config, node):
        activation = config.get("activation", "linear")
        modules = {"relu": lambda: nn.ReLU(self.inplace), "gelu": nn.GELU}
        if activation in ("linear", "softmax"):
            return node
        return self._call(f"{name}_activation", modules[activation](), node)

    def InputLayer(self, name, config, names, shapes, arrays):  # noqa: N802
        """Name the input."""
        return self.graph.placeholder("x")

    def ZeroPadding2D(self, name, config, names, shapes, arrays):  # noqa: N802
        """Leave the zeros to the convolution or pooling that follows."""
        (top, bottom), (left, right) = config["padding"]
        self.padding[name] = (left, right, top, bottom)
        return self.nodes[names[0]]

    def _padded(self, name, config, names, shapes, kernel):
        """Give the input and its symmetric padding; other zeros are added before."""
        sides = self.padding.get(names[0], (0, 0, 0, 0))
        if config["padding"] == "same":
            rows, columns = (
                same_padding(size, k, stride)
                for size, k, stride in zip(shapes[0][1:3], kernel, config["strides"], strict=True)
            )
            sides = (*columns, *rows)
        left, right, top, bottom = sides
        node = self.nodes[names[0]]
        if left == right and top == bottom:
            return node, (top, left)
        return self._call(f"{name}_zeros", nn.ZeroPad2d(sides), node), (0, 0)

    def Conv2D(self, name, config, names, shapes, arrays):  # noqa: N802
        """Translate a convolution and its activation."""
        return self._convolution(name, config, names, shapes, arrays, (3, 2, 0, 1), 1)

    def DepthwiseConv2D(self, name, config, names, shapes, arrays):  # noqa: N802
        """Translate a convolution of each channel by itself."""
        channels = shapes[0][-1]
        return self._convolution(name, config, names, shapes, arrays, (2, 3, 0, 1), channels)

    def _convolution(self, name, config, names, shapes, arrays, order, groups):
        kernel = torch.from_numpy(arrays[0].transpose(order).copy())
        node, padding = self._padded(name, config, names, shapes, kernel.shape[2:])
        module = nn.Conv2d(
            kernel.shape[1] * groups,
            len(kernel),
            tuple(kernel.shape[2:]),
            tuple(config["strides"]),
            padding,
            groups=groups,
            bias=len(arrays) > 1,
        )
        with torch.no_grad():
            module.weight.copy_(kernel)
            if len(arrays) > 1:
                module.bias.copy_(torch.from_numpy(arrays[1]))
        return self._activated(name, config, self._call(name, module, node))

    def BatchNormalization(self, name, config, names, shapes, arrays):  # noqa: N802
        """Translate a batch normalisation."""
        module = nn.BatchNorm2d(len(arrays[0]), config["epsilon"])
        fields = (module.weight, module.bias, module.running_mean, module.running_var)
        with torch.no_grad():
            for field, array in zip(fields, arrays, strict=True):
                field.copy_(torch.from_numpy(array))
        return self._call(name, module, self.nodes[names[0]])

    def LayerNormalization(self, name, config, names, shapes, arrays):  # noqa: N802
        """Translate a normalisation of the last axis."""
        module = nn.LayerNorm(len(arrays[0]), config["epsilon"])
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(arrays[0]))
            module.bias.copy_(torch.from_numpy(arrays[1]))
        return self._call(name, module, self.nodes[names[0]])

    def ReLU(self, name, config, names, shapes, arrays):  # noqa: N802
        """Translate a ReLU or ReLU6."""
        capped = config["max_value"] == 6
        module = nn.ReLU6(self.inplace) if capped else nn.ReLU(self.inplace)
        return self._call(name, module, self.nodes[names[0]])

    def Activation(self, name, config, names, shapes, arrays):  # noqa: N802
        """Translate an activation of its own."""
        return self._activated(name, config, self.nodes[names[0]])

    def Softmax(self, name, config, names, shapes, arrays):  # noqa: N802
        """Leave the logits as they are."""
        return self.nodes[names[0]]

    def Add(self, name, config, names, shapes, arrays):  # noqa: N802
        """Translate a sum of two."""
        return self.graph.call_function(operator.add, tuple(self.nodes[n] for n in names))

    def MaxPooling2D(self, name, config, names, shapes, arrays):  # noqa: N802
        """Translate a pooling; zeros around it only ever follow a ReLU, so none need be shown."""
        size = tuple(config["pool_size"])
        node, padding = self._padded(name, config, names, shapes, size)
        return self._call(name, nn.MaxPool2d(size, tuple(config["strides"]), padding), node)

    def GlobalAveragePooling2D(self, name, config, names, shapes, arrays):  # noqa: N802
        """Translate a mean over all positions of an image."""
        return self._call(name, MeanOver(2, 3), self.nodes[names[0]])

    def GlobalAveragePooling1D(self, name, config, names, shapes, arrays):  # noqa: N802
        """Translate a mean over all positions of a sequence."""
        return self._call(name, MeanOver(1), self.nodes[names[0]])

    def Flatten(self, name, config, names, shapes, arrays):  # noqa: N802
        """Translate a flattening; a Dense layer after it has its rows reordered."""
        self.flattened[name] = shapes[0][1:]
        return self._call(name, nn.Flatten(), self.nodes[names[0]])

    def Dense(self, name, config, names, shapes, arrays):  # noqa: N802
        """Translate a product with weights and its activation."""
        kernel, bias = map(torch.from_numpy, arrays)
        if names[0] in self.flattened:
            kernel = kernel.reshape(*self.flattened[names[0]], -1).permute(2, 0, 1, 3).flatten(0, 2)
        module = nn.Linear(*kernel.shape)
        with torch.no_grad():
            module.weight.copy_(kernel.T)
            module.bias.copy_(bias)
        node = self._call(name, module, self.nodes[names[0]])
        return self._activated(name, config, node)

    def Dropout(self, name, config, names, shapes, arrays):  # noqa: N802
        """Leave out what only training has."""
        return self.nodes[names[0]]

    def Reshape(self, name, config, names, shapes, arrays):  # noqa: N802
        """Translate the sequence of an image's positions."""
        return self._call(name, Sequence(), self.nodes[names[0]])

    def AddPositions(self, name, config, names, shapes, arrays):  # noqa: N802
        """Translate the vectors of the positions."""
        return self._call(name, Positions(arrays[0]), self.nodes[names[0]])

    def MultiHeadAttention(self, name, config, names, shapes, arrays):  # noqa: N802
        """Translate self-attention."""
        return self._call(name, Attention(arrays), self.nodes[names[0]])
