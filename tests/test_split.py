"""Cutting a model in two: head(encoder(x)) is model(x), or an error."""

import keras
import numpy as np
import pytest

import tfxai
from tests.thorough import quick

L = keras.layers


def nested():
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), L.Conv2D(4, 3, name="conv"), L.ReLU(name="re")]
    )
    x = keras.Input((8, 8, 3))
    return keras.Model(x, L.Dense(2, name="top")(L.Flatten()(inner(x))))


def raw():
    x = keras.Input((8, 8, 3))
    y = keras.ops.relu(L.Conv2D(4, 3, name="conv")(x))
    return keras.Model(x, L.Dense(2, name="top")(L.Flatten()(y)))


def shared():
    layer = L.Conv2D(3, 3, padding="same", activation="relu", name="conv")
    x = keras.Input((8, 8, 3))
    return keras.Model(x, L.Dense(2, name="top")(L.Flatten()(layer(layer(x)))))


@pytest.mark.parametrize(
    ("make", "layer"),
    quick(
        [(nested, "conv"), (nested, "re"), (raw, "conv"), (shared, "conv@1"), (shared, "conv@2")],
        *((nested, "re"), (raw, "conv"), (shared, "conv@2")),
    ),
)
def test_the_parts_make_the_whole(make, layer, images, tmp_path):
    model = make()
    encoder, head = tfxai.split(model, layer)
    inner = encoder(images)
    np.testing.assert_allclose(head(inner), model(images), rtol=1e-5, atol=1e-6)
    maps = tfxai.integrated_gradients(head, steps=5)(inner, 1)
    assert maps.shape == inner.shape
    head.save(tmp_path / "head.keras")
    np.testing.assert_array_equal(
        keras.saving.load_model(tmp_path / "head.keras")(inner), head(inner)
    )


def test_the_parts_share_the_variables(images):
    model = nested()
    encoder, head = tfxai.split(model, "re")
    model.get_layer("top").kernel.assign(model.get_layer("top").kernel * 2)
    np.testing.assert_allclose(head(encoder(images)), model(images), rtol=1e-5)


def skipping():
    x = keras.Input((8, 8, 3))
    y = L.Conv2D(3, 1, activation="tanh", name="conv")(x)
    z = L.Conv2D(3, 3, padding="same", name="after")(y) * y
    return keras.Model(x, L.Dense(2)(L.Flatten()(z + x)))


@pytest.mark.parametrize("layer", ["conv", "after"])
def test_a_head_takes_what_goes_around_the_layer(layer, images, tmp_path):
    model = skipping()
    encoder, head = tfxai.split(model, layer)
    at_layer = encoder(images)
    assert len(at_layer) == len(head.inputs) == 2
    np.testing.assert_array_equal(at_layer[1], images)
    np.testing.assert_allclose(head(at_layer), model(images), rtol=1e-5, atol=1e-6)
    slopes = tfxai.gradient(head)(at_layer, 1)[0].numpy()
    step = np.zeros_like(slopes)
    step[:, 2, 5, 1] = 1e-2
    ends = [head([at_layer[0] + s, at_layer[1]]).numpy()[:, 1] for s in (step, -step)]
    np.testing.assert_allclose(slopes[:, 2, 5, 1], (ends[0] - ends[1]) / 2e-2, rtol=2e-2, atol=1e-4)
    head.save(tmp_path / "head.keras")
    loaded = keras.saving.load_model(tmp_path / "head.keras")
    np.testing.assert_array_equal(loaded(at_layer), head(at_layer))


def test_a_path_may_keep_what_goes_around_the_layer(images):
    encoder, head = tfxai.split(skipping(), "conv")
    at_layer = encoder(images)
    explainer = tfxai.integrated_gradients(
        head, steps=60, baseline=lambda given: [0 * given[0], *given[1:]]
    )
    maps, kept = explainer(at_layer, 1)
    assert not kept.numpy().any()
    change = head(at_layer) - head([0 * at_layer[0], at_layer[1]])
    np.testing.assert_allclose(maps.numpy().sum((1, 2, 3)), change[:, 1], rtol=1e-3, atol=1e-4)


def test_a_subclassed_model_raises(images):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(2, name="dense")

        def call(self, x):
            return self.dense(x)

    with pytest.raises(ValueError, match="subclassed Own, which has no graph to cut"):
        tfxai.split(Own(), "dense")


@pytest.mark.parametrize("behind", [L.LSTM(3), L.GlobalAveragePooling1D()], ids=["lstm", "mean"])
def test_the_head_has_the_mask_of_the_layer(behind):
    layers = [L.Embedding(9, 4, mask_zero=True, name="embedding"), behind, L.Dense(2)]
    model = keras.Sequential([keras.Input((5,), dtype="int32"), *layers])
    tokens = np.array([[3, 1, 8, 0, 0], [2, 0, 0, 0, 0], [5, 6, 7, 8, 1]])
    encoder, head = tfxai.split(model, "embedding")
    vectors, ids = encoder(tokens)
    np.testing.assert_allclose(head([vectors, ids]), model(tokens), rtol=1e-5, atol=1e-6)
    padding = (tokens == 0)[..., None] * np.ones(4)
    np.testing.assert_allclose(head([vectors + padding, ids]), model(tokens), rtol=1e-5, atol=1e-6)


def test_masks_of_a_dict_go_around_the_layers_of_a_text_model():
    """As in KerasHub's BERT: the padding mask goes to every block, the segments to the start."""
    given = {
        "token_ids": keras.Input((6,), dtype="int32", name="token_ids"),
        "segment_ids": keras.Input((6,), dtype="int32", name="segment_ids"),
        "padding_mask": keras.Input((6,), dtype="int32", name="padding_mask"),
    }
    x = L.Embedding(20, 8, name="tokens")(given["token_ids"])
    x = L.LayerNormalization(name="start")(x + L.Embedding(2, 8)(given["segment_ids"]))
    mask = keras.ops.cast(given["padding_mask"], "bool")[:, None]
    for name in ("first", "second"):
        x = L.Add(name=name)([x, L.MultiHeadAttention(2, 4)(x, x, attention_mask=mask)])
    model = keras.Model(given, L.Dense(2)(x[:, 0]))
    random = np.random.default_rng(0)
    values = {
        "token_ids": random.integers(0, 20, (3, 6)),
        "segment_ids": random.integers(0, 2, (3, 6)),
        "padding_mask": np.arange(6) < np.array([[6], [4], [2]]),
    }
    for layer, count in {"tokens": 3, "start": 2, "first": 2, "second": 1}.items():
        encoder, head = tfxai.split(model, layer)
        assert len(head.inputs) == count, layer
        np.testing.assert_allclose(head(encoder(values)), model(values), rtol=1e-5, atol=1e-6)


def test_an_unknown_name_raises_with_the_nearest():
    with pytest.raises(ValueError, match=r"layer='covn': .* has no such layer; perhaps conv"):
        tfxai.split(nested(), "covn")


def test_a_name_that_two_layers_have_asks_for_a_path():
    parts = []
    for name in ("left", "right"):
        parts.append(keras.Sequential([keras.Input((4,)), L.Dense(4, name="dense")], name=name))
    model = keras.Sequential([keras.Input((4,)), *parts])
    with pytest.raises(ValueError, match="the name of 2 layers; use a path"):
        tfxai.split(model, "dense")
    encoder, head = tfxai.split(model, "left/dense")
    x = np.ones((2, 4))
    np.testing.assert_allclose(head(encoder(x)), model(x), rtol=1e-6)
