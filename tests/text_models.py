"""Small text classifiers: one put together as KerasHub's BERT is, and plain ones."""

import keras
import numpy as np

L = keras.layers
PAD, MASK, WORDS = 0, 3, 23


@keras.saving.register_keras_serializable("tests")
class PositionEmbedding(L.Layer):
    """As in KerasHub: a table of its own, sliced to the length of the text."""

    def __init__(self, length, **options):
        super().__init__(**options)
        self.length = length

    def build(self, shape):
        self.table = self.add_weight(shape=(self.length, shape[-1]), initializer="normal")

    def call(self, x):
        return keras.ops.broadcast_to(self.table[: keras.ops.shape(x)[1]], keras.ops.shape(x))

    def get_config(self):
        return {**super().get_config(), "length": self.length}


@keras.saving.register_keras_serializable("tests")
class TransformerEncoder(L.Layer):
    """As in KerasHub: attention and two dense layers with skips, and a mask of padding."""

    def __init__(self, size, **options):
        super().__init__(**options)
        self.size = size
        self.attention = L.MultiHeadAttention(2, size // 2, dtype=self.dtype_policy)
        self.norms = [L.LayerNormalization(dtype=self.dtype_policy) for _ in range(2)]
        self.inner = L.Dense(2 * size, activation="gelu", dtype=self.dtype_policy)
        self.outer = L.Dense(size, dtype=self.dtype_policy)

    def build(self, shape):
        self.attention.build(shape, shape)
        for part in (*self.norms, self.inner):
            part.build(shape)
        self.outer.build((*shape[:-1], 2 * self.size))

    def call(self, x, padding_mask=None):
        mask = keras.ops.cast(padding_mask, "bool")[:, None]
        x = self.norms[0](x + self.attention(x, x, attention_mask=mask))
        return self.norms[1](x + self.outer(self.inner(x)))

    def get_config(self):
        return {**super().get_config(), "size": self.size}


def like_keras_hub(dtype="float64", size=6, seed=0, blocks=1):
    """A classifier of three classes around a backbone of dicts, whose names are in no order."""
    keras.utils.set_random_seed(seed)
    given = {
        name: keras.Input((None,), dtype="int32", name=name)
        for name in ("token_ids", "segment_ids", "padding_mask")
    }
    normal = keras.initializers.RandomNormal(stddev=1.0)
    tokens = L.Embedding(WORDS, size, normal, dtype=dtype, name="token_embedding")(
        given["token_ids"]
    )
    positions = PositionEmbedding(16, dtype=dtype, name="position_embedding")(tokens)
    segments = L.Embedding(2, size, dtype=dtype, name="segment_embedding")(given["segment_ids"])
    x = L.LayerNormalization(dtype=dtype)(L.Add(dtype=dtype)([tokens, positions, segments]))
    for i in range(blocks):
        block = TransformerEncoder(size, dtype=dtype, name=f"transformer_{i}")
        x = block(x, padding_mask=given["padding_mask"])
    backbone = keras.Model(given, {"sequence": x, "first": x[:, 0]}, name="backbone")
    outputs = L.Dense(3, dtype=dtype, name="logits")(backbone(given)["first"])
    return keras.Model(given, outputs, name="classifier")


def hub_inputs():
    """Three texts of different lengths, of tokens in no order, padded at the end."""
    lengths = np.array([4, 7, 2])
    ids = np.array([[9, 2, 21, 5, 0, 0, 0], [22, 7, 7, 1, 14, 2, 6], [8, 4, 0, 0, 0, 0, 0]])
    places = np.arange(7)
    return {
        "segment_ids": (places > 2).astype(int) * np.ones((3, 1), int),
        "padding_mask": (places < lengths[:, None]).astype(int),
        "token_ids": ids,
    }


def sequential(*layers, mask_zero=True, dtype="float64", length=None, seed=0):
    """An embedding, the layers, and three classes."""
    keras.utils.set_random_seed(seed)
    embedding = L.Embedding(WORDS, 5, mask_zero=mask_zero, dtype=dtype, name="words")
    return keras.Sequential(
        [keras.Input((length,), dtype="int32"), embedding, *layers, L.Dense(3, dtype=dtype)]
    )


def part(inputs, rows, length=None):
    """Some of the examples, cut to a length."""
    if isinstance(inputs, dict):
        return {name: x[rows, :length] for name, x in inputs.items()}
    return inputs[rows, :length]
