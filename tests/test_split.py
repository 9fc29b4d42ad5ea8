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


def test_a_layer_that_is_bypassed_raises(images):
    x = keras.Input((8, 8, 3))
    y = L.Conv2D(3, 1, name="conv")(x)
    with pytest.raises(ValueError, match=r"layer='conv'.*another way around"):
        tfxai.split(keras.Model(x, L.Flatten()(x + y)), "conv")


def test_a_subclassed_model_raises(images):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(2, name="dense")

        def call(self, x):
            return self.dense(x)

    with pytest.raises(ValueError, match="subclassed Own, which has no graph to cut"):
        tfxai.split(Own(), "dense")


def test_a_mask_raises():
    layers = [L.Embedding(9, 4, mask_zero=True, name="embedding"), L.LSTM(3)]
    model = keras.Sequential([keras.Input((5,), dtype="int32"), *layers])
    with pytest.raises(ValueError, match="computes a mask"):
        tfxai.split(model, "embedding")


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
