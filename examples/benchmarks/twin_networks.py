"""Twins of a convolutional network, and a vision transformer, that tell tetrominoes apart."""

import keras

L = keras.layers
CLASSES = 7


def convolutional(activation, *, normalisation=L.BatchNormalization, gated=False):
    """Give a builder: size -> model of logits, of five convolutions and two poolings.

    Args:
        activation: of all layers but the last.
        normalisation: makes the layer between a convolution and its activation.
        gated: whether squeeze-and-excitation (Hu et al. 2018) follows two convolutions.
    """

    def build(size):
        inputs = keras.Input((size, size, 1))
        x = inputs
        for i, width in enumerate((12, 16, 16, 32, 32)):
            x = L.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = L.Activation(activation)(normalisation()(x))
            x = squeeze_and_excite(x, activation) if gated and i in (2, 4) else x
            x = L.MaxPooling2D()(x) if i in (0, 2) else x
        return keras.Model(inputs, L.Dense(CLASSES)(L.GlobalAveragePooling2D()(x)))

    return build


def squeeze_and_excite(x, activation):
    width = x.shape[-1]
    squeezed = L.Dense(width // 4, activation=activation)(L.GlobalAveragePooling2D()(x))
    gate = L.Dense(width, activation="sigmoid")(squeezed)
    return L.Multiply()([x, L.Reshape((1, 1, width))(gate)])


class Tokens(L.Layer):
    """Puts a learnt class token before the others, and adds a learnt embedding of positions."""

    def build(self, shape):
        """Make the class token and the embedding, which begins as large as the tokens."""
        normal = keras.initializers.RandomNormal(stddev=1.0)
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer=normal)
        self.table = self.add_weight(shape=(1, shape[1] + 1, shape[2]), initializer=normal)

    def call(self, x):
        """Give tokens ``[B, 1 + N, C]`` for ``[B, N, C]``."""
        token = keras.ops.repeat(self.token, keras.ops.shape(x)[0], axis=0)
        return keras.ops.concatenate([token, x], axis=1) + self.table


def vision_transformer(size, *, patch=8, stride=4, width=48, blocks=3, heads=4):
    """Make a model of logits whose patches overlap, as then it learns shapes in a minute."""
    inputs = keras.Input((size, size, 1))
    x = L.Conv2D(width, patch, strides=stride, padding="same", use_bias=False)(inputs)
    x = Tokens()(L.Reshape((-1, width))(L.BatchNormalization()(x)))
    for _ in range(blocks):
        y = L.LayerNormalization()(x)
        x = L.Add()([x, L.MultiHeadAttention(heads, width // heads)(y, y)])
        y = L.Dense(2 * width, activation="gelu")(L.LayerNormalization()(x))
        x = L.Add()([x, L.Dense(width)(y)])
    return keras.Model(inputs, L.Dense(CLASSES)(L.LayerNormalization()(x)[:, 0]))


def of_all_units():
    """Make a layer normalisation over positions and channels; over channels it loses contrast."""
    return L.GroupNormalization(groups=1)


TWINS = {
    "ReLU": convolutional("relu"),
    "swish": convolutional("swish"),
    "GELU, layer norm": convolutional("gelu", normalisation=of_all_units),
    "swish, gated": convolutional("swish", gated=True),
    "attention": vision_transformer,
}
"""Name -> builder. The first is the network of the papers."""
