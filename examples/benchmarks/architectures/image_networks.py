"""Small networks of images: convolutions, attention, gates, several outputs, other precisions."""

import keras
import numpy as np
import tensorflow as tf
from network import Network

import tfxai

L = keras.layers
ops = keras.ops
SIZE = (12, 12, 3)


def softmax(head):
    return "softmax" if head else None


def plain(activation="relu", normalisation=None, final=softmax, units=4):
    """Two convolutions, pooled, and a dense layer; the activation is a name or makes a layer."""

    def build(head):
        inputs = keras.Input(SIZE)
        x = inputs
        for filters in (6, 8):
            x = L.Conv2D(filters, 3, padding="same")(x)
            x = normalisation()(x) if normalisation else x
            x = L.Activation(activation)(x) if isinstance(activation, str) else activation()(x)
            x = L.MaxPooling2D(2)(x) if filters == 6 else x
        x = L.GlobalAveragePooling2D()(x)
        return keras.Model(inputs, L.Dense(units, activation=final(head))(x))

    return build


def residual(head):
    inputs = keras.Input(SIZE)
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 3, padding="same", use_bias=False)(inputs)))
    y = L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 3, padding="same")(x)))
    y = L.BatchNormalization()(L.Conv2D(6, 3, padding="same")(y))
    x = L.AveragePooling2D(2)(L.ReLU()(L.Add()([x, y])))
    return keras.Model(inputs, L.Dense(4, activation=softmax(head))(L.Flatten()(x)))


def squeeze_and_excitation(head):
    inputs = keras.Input(SIZE)
    x = L.BatchNormalization()(L.Conv2D(8, 3, strides=2, padding="same")(inputs))
    x = L.Activation("swish")(x)
    gate = L.Dense(4, activation="swish")(L.GlobalAveragePooling2D()(x))
    gate = L.Reshape((1, 1, 8))(L.Dense(8, activation="sigmoid")(gate))
    x = L.Multiply()([x, gate])
    x = L.Activation("swish")(L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same")(x)))
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, L.Dense(4, activation=softmax(head))(x))


class ClassToken(L.Layer):
    """Puts a learnt token before the others."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="normal")

    def call(self, x):
        token = ops.repeat(self.token, ops.shape(x)[0], axis=0)
        return ops.concatenate([ops.cast(token, x.dtype), x], axis=1)


class Positions(L.Layer):
    """Adds a learnt embedding of positions."""

    def build(self, shape):
        self.table = self.add_weight(shape=(1, *shape[1:]), initializer="normal")

    def call(self, x):
        return x + ops.cast(self.table, x.dtype)


def attention_block(x, width=8):
    y = L.LayerNormalization()(x)
    x = L.Add()([x, L.MultiHeadAttention(2, 4)(y, y)])
    y = L.Dense(2 * width, activation="gelu")(L.LayerNormalization()(x))
    return L.Add()([x, L.Dense(width)(y)])


def vit(head):
    inputs = keras.Input(SIZE)
    x = L.Reshape((9, 8))(L.Conv2D(8, 4, strides=4)(inputs))
    x = attention_block(attention_block(Positions()(ClassToken()(x))))
    x = L.LayerNormalization()(x)[:, 0]
    return keras.Model(inputs, L.Dense(4, activation=softmax(head))(x))


def swin_like(head):
    """Attention within windows, the second time shifted, then merged patches."""
    inputs = keras.Input((16, 16, 3))
    x = L.Conv2D(8, 2, strides=2)(inputs)
    for shift in (0, 2):
        y = ops.roll(x, (-shift, -shift), (1, 2)) if shift else x
        y = ops.transpose(ops.reshape(y, (-1, 2, 4, 2, 4, 8)), (0, 1, 3, 2, 4, 5))
        y = attention_block(ops.reshape(y, (-1, 16, 8)))
        y = ops.transpose(ops.reshape(y, (-1, 2, 2, 4, 4, 8)), (0, 1, 3, 2, 4, 5))
        y = ops.reshape(y, (-1, 8, 8, 8))
        x = ops.roll(y, (shift, shift), (1, 2)) if shift else y
    x = L.Dense(12)(L.LayerNormalization()(ops.reshape(x, (-1, 4, 4, 32))))
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, L.Dense(4, activation=softmax(head))(x))


def mlp_mixer(head):
    inputs = keras.Input(SIZE)
    x = L.Reshape((9, 8))(L.Conv2D(8, 4, strides=4)(inputs))
    for _ in range(2):
        y = L.Permute((2, 1))(L.LayerNormalization()(x))
        y = L.Permute((2, 1))(L.Dense(9)(L.Dense(12, activation="gelu")(y)))
        x = L.Add()([x, y])
        y = L.Dense(8)(L.Dense(12, activation="gelu")(L.LayerNormalization()(x)))
        x = L.Add()([x, y])
    x = L.GlobalAveragePooling1D()(L.LayerNormalization()(x))
    return keras.Model(inputs, L.Dense(4, activation=softmax(head))(x))


def u_net(head):
    """Classes of pixels."""
    inputs = keras.Input(SIZE)
    fine = L.Conv2D(6, 3, padding="same", activation="relu")(inputs)
    coarse = L.Conv2D(8, 3, padding="same", activation="relu")(L.MaxPooling2D(2)(fine))
    up = L.Conv2DTranspose(6, 2, strides=2)(coarse)
    x = L.Conv2D(6, 3, padding="same", activation="relu")(L.Concatenate()([fine, up]))
    return keras.Model(inputs, L.Conv2D(3, 1, activation=softmax(head))(x))


UPPER_HALF = np.arange(SIZE[0])[:, None] < SIZE[0] // 2 * np.ones(SIZE[1])


def of_upper_half(score):
    return tfxai.scores.region(UPPER_HALF, score=score)


def pixels_of_upper_half(outputs):
    half = outputs[:, : SIZE[0] // 2]
    return tf.reshape(half, [-1, half.shape[1] * half.shape[2], half.shape[3]])


def detector(head):
    """Boxes and classes of 9 anchors."""
    inputs = keras.Input(SIZE)
    x = L.Conv2D(6, 3, strides=2, padding="same", activation="relu")(inputs)
    x = L.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    boxes = L.Reshape((9, 4))(L.Conv2D(4, 1)(x))
    classes = L.Reshape((9, 3))(L.Conv2D(3, 1)(x))
    return keras.Model(inputs, {"boxes": boxes, "classes": classes})


def of_fifth_anchor(score):
    return tfxai.scores.output("classes", tfxai.scores.box(4, score))


def two_heads(head):
    """Give a list of a classifier's and a regressor's outputs."""
    inputs = keras.Input(SIZE)
    x = L.Flatten()(L.Conv2D(4, 3, strides=2, activation="relu")(inputs))
    return keras.Model(inputs, [L.Dense(4)(x), L.Dense(3)(L.Dense(5, activation="relu")(x))])


def of_second_output(score):
    return tfxai.scores.output(1, score)


class Branching(keras.Model):
    """A subclassed model whose call has an `if` by training, a loop, and shared layers."""

    def __init__(self, head):
        super().__init__()
        self.first = L.Conv2D(6, 3, padding="same")
        self.shared = L.Conv2D(6, 3, padding="same", activation="relu")
        self.drop = L.Dropout(0.3)
        self.last = L.Dense(4, activation=softmax(head))

    def call(self, x, training=False):
        x = ops.relu(self.first(x))
        for _ in range(2):
            x = self.shared(x) + x
        if training:
            x = self.drop(x)
        return self.last(ops.mean(x, (1, 2)))


class Conditional(L.Layer):
    """Takes one of two branches, by the mean of the batch's every example."""

    def build(self, shape):
        self.weight = self.add_weight(shape=(shape[-1],), initializer="normal")

    def call(self, x):
        x = ops.where(ops.mean(x, (1, 2, 3), keepdims=True) > 0, x, -2 * x)
        return x * (1 + ops.cast(self.weight, x.dtype))


def conditional(head):
    inputs = keras.Input(SIZE)
    x = Conditional()(L.Conv2D(6, 3, activation="relu")(inputs))
    x = L.GlobalMaxPooling2D()(L.Conv2D(6, 3, activation="relu")(x))
    return keras.Model(inputs, L.Dense(4, activation=softmax(head))(x))


def with_lambda(head):
    inputs = keras.Input(SIZE)
    x = L.Conv2D(6, 3, activation="relu")(inputs)
    x = L.Lambda(lambda t: ops.concatenate([t, -t], -1), output_shape=(10, 10, 12))(x)
    x = L.Lambda(lambda t: ops.mean(ops.square(t), (1, 2)), output_shape=(12,))(x)
    return keras.Model(inputs, L.Dense(4, activation=softmax(head))(x))


def nested(head):
    """Models in a model, one of them called twice."""
    block = keras.Sequential(
        [keras.Input((12, 12, 6)), L.Conv2D(6, 3, padding="same"), L.BatchNormalization(), L.ReLU()]
    )
    stem = keras.Sequential([keras.Input(SIZE), L.Conv2D(6, 3, padding="same"), L.ReLU()])
    inputs = keras.Input(SIZE)
    x = block(block(stem(inputs)))
    return keras.Model(inputs, L.Dense(4, activation=softmax(head))(L.GlobalAveragePooling2D()(x)))


def open_size(head):
    inputs = keras.Input((None, None, 3))
    x = L.Conv2D(6, 3, activation="relu")(inputs)
    x = L.GlobalAveragePooling2D()(L.Conv2D(8, 3, activation="relu")(x))
    return keras.Model(inputs, L.Dense(4, activation=softmax(head))(x))


def channels_first(head):
    inputs = keras.Input((3, 12, 12))
    return keras.Model(inputs, plain()(head)(L.Permute((2, 3, 1))(inputs)))


def rescaled(head):
    inputs = keras.Input(SIZE)
    return keras.Model(inputs, plain()(head)(L.Rescaling(1 / 64, -2.0)(inputs)))


def one_unit(head):
    return "sigmoid" if head else None


NETWORKS = {
    "cnn": Network(plain(), SIZE),
    "residual, batch norm": Network(residual, SIZE),
    "swish, squeeze and excitation": Network(squeeze_and_excitation, SIZE),
    "PReLU": Network(plain(lambda: L.PReLU("he_normal")), SIZE),
    "leaky ReLU, ELU": Network(plain(lambda: L.LeakyReLU(0.2), lambda: L.Activation("elu")), SIZE),
    "GELU, group norm": Network(plain("gelu", lambda: L.GroupNormalization(2)), SIZE),
    "hard swish, layer norm": Network(plain("hard_silu", L.LayerNormalization), SIZE),
    "mish, RMS norm": Network(plain("mish", L.RMSNormalization), SIZE),
    "softplus, unit norm": Network(plain("softplus", L.UnitNormalization), SIZE),
    "vision transformer": Network(vit, SIZE),
    "windows of attention": Network(swin_like, (16, 16, 3)),
    "MLP mixer": Network(mlp_mixer, SIZE),
    "U-Net": Network(u_net, SIZE, part=of_upper_half, rows=pixels_of_upper_half),
    "detector": Network(
        detector, SIZE, part=of_fifth_anchor, rows=lambda outputs: outputs["classes"][:, 4]
    ),
    "two heads": Network(two_heads, SIZE, part=of_second_output, rows=lambda outputs: outputs[1]),
    "binary, sigmoid": Network(plain(final=one_unit, units=1), SIZE, targets=(1, 0, 1, 1, 0)),
    "regressor of images": Network(
        plain("tanh", final=lambda head: None, units=1), SIZE, targets=(1, 0, 1, 1, 0)
    ),
    "subclassed, branches": Network(lambda head: Branching(head), SIZE),
    "where": Network(conditional, SIZE),
    "Lambda": Network(with_lambda, SIZE),
    "nested, shared": Network(nested, SIZE),
    "open size": Network(open_size, SIZE),
    "channels first": Network(channels_first, (3, 12, 12), channels=0),
    "pixels, rescaled": Network(rescaled, SIZE, scale=(128.0, 60.0)),
    "mixed float16": Network(plain(), SIZE, policy="mixed_float16", tolerance=0.1),
    "mixed bfloat16": Network(residual, SIZE, policy="mixed_bfloat16", tolerance=0.3),
    "float64": Network(squeeze_and_excitation, SIZE, policy="float64", tolerance=1e-6),
    "int8": Network(
        plain(), SIZE, finish=lambda model: model.quantize("int8"), tolerance=0.1, exact=False
    ),
}
