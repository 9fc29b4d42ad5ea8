"""Grad-CAM on tokens: they are put back to their places, class tokens and registers left out."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai

L = keras.layers


class Prepended(L.Layer):
    """Learnt tokens before those of the patches."""

    def __init__(self, count, **keywords):
        super().__init__(**keywords)
        self.count = count

    def build(self, shape):
        self.tokens = self.add_weight(shape=(1, self.count, shape[-1]), initializer="normal")

    def call(self, x):
        tokens = keras.ops.repeat(self.tokens, keras.ops.shape(x)[0], axis=0)
        return keras.ops.concatenate([tokens, x], axis=1)


def encoder_block(x, name):
    y = L.LayerNormalization(name=f"{name}_norm")(x)
    x = L.Add(name=f"{name}_sum")([x, L.MultiHeadAttention(2, 4)(y, y)])
    y = L.LayerNormalization()(x)
    return L.Add(name=name)([x, L.Dense(8)(L.Dense(16, activation="gelu")(y))])


def patches_by_convolution(x, patch):
    x = L.Conv2D(8, patch, strides=patch)(x)
    return L.Reshape((-1, 8))(x)


def patches_by_reshape(x, patch):
    rows, columns = x.shape[1] // patch[0], x.shape[2] // patch[1]
    x = L.Reshape((rows, patch[0], columns, patch[1] * x.shape[3]))(x)
    x = L.Permute((1, 3, 2, 4))(x)
    return L.Dense(8)(L.Reshape((rows * columns, -1))(x))


def vit(size=(16, 8), patch=(4, 2), patches=patches_by_convolution, *, extra=1, registers=0):
    """A vision transformer; its class token, if it has one, is read alone."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((*size, 3))
    x = patches(inputs, patch)
    x = x + L.Embedding(x.shape[1], 8)(keras.ops.arange(x.shape[1]))
    if extra + registers:
        x = Prepended(extra + registers)(x)
    x = encoder_block(encoder_block(x, "first"), "second")
    x = L.LayerNormalization(name="last_norm")(x)
    x = x[:, 0] if extra else L.GlobalAveragePooling1D()(x[:, registers:])
    return keras.Model(inputs, L.Dense(3)(x))


def images(size=(16, 8)):
    return np.random.default_rng(0).normal(size=(3, *size, 3)).astype("float32")


def slow_map(model, layer, x, target, count, sizes):
    """Grad-CAM of the last tokens, by finite differences: token by token, channel by channel."""
    encoder, head = tfxai.split(model, layer)
    activations = np.asarray(encoder(x[None]))[0]
    step = 1e-2
    slopes = np.zeros_like(activations)
    for place in np.ndindex(*activations.shape):
        ends = np.repeat(activations[None], 2, 0)
        ends[(0, *place)] += step
        ends[(1, *place)] -= step
        high, low = np.asarray(head(ends))[:, target]
        slopes[place] = (high - low) / (2 * step)
    tokens, slopes = activations[-count:], slopes[-count:]
    alpha = slopes.mean(0)
    return np.maximum(tokens @ alpha, 0).reshape(sizes)


@pytest.mark.filterwarnings("ignore:.*zero everywhere")
@pytest.mark.parametrize("patches", [patches_by_convolution, patches_by_reshape])
@pytest.mark.parametrize(
    ("extra", "registers", "layer"),
    [(1, 0, "first"), (0, 0, "last_norm"), (1, 4, "first"), (0, 4, "last_norm")],
)
def test_the_map_of_tokens_is_that_of_finite_differences(patches, extra, registers, layer):
    model = vit(patches=patches, extra=extra, registers=registers)
    x = images()
    record = tfxai.grad_cam(model, layer=layer, upsample=None).explain(x, [0, 2, 1], verbose=0)
    assert record.attributions.shape == (3, 4, 4, 1)
    assert record.attributions.any()
    for i, target in enumerate([0, 2, 1]):
        expected = slow_map(model, layer, x[i], target, 16, (4, 4))
        np.testing.assert_allclose(record.attributions[i, ..., 0], expected, rtol=2e-2, atol=2e-5)
    left_out = record.diagnostics.get("left_out_tokens", np.zeros((3, 0)))
    np.testing.assert_array_equal(left_out, [list(range(extra + registers))] * 3)
    if not extra:
        found = tfxai.grad_cam(model, upsample=None)(x, [0, 2, 1])
        np.testing.assert_allclose(found, record.attributions, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("patches", [patches_by_convolution, patches_by_reshape])
@pytest.mark.parametrize(
    ("size", "patch"), [((12, 20), (4, 2)), ((8, 4), (2, 4)), ((6, 18), (3, 3))]
)
def test_rows_and_columns_of_any_form_are_where_they_were(size, patch, patches):
    """A network that looks at one patch alone has a map of that patch."""
    rows, columns = size[0] // patch[0], size[1] // patch[1]
    inputs = keras.Input((*size, 3))
    x = Prepended(2)(patches(inputs, patch))
    x = L.Add(name="tokens")([x, x])
    wanted = 2 + (rows - 1) * columns  # the first patch of the last row
    model = keras.Model(
        inputs, L.Dense(2, kernel_initializer="ones")(L.Flatten()(x[:, wanted : wanted + 1] ** 2))
    )
    maps = tfxai.grad_cam(model, layer="tokens", upsample=None)(images(size), 0)
    assert maps.shape == (3, rows, columns, 1)
    full = tfxai.grad_cam(model, layer="tokens", upsample="nearest")(images(size), 0)
    np.testing.assert_array_equal(full[:, :: patch[0], :: patch[1]], maps)
    patch_of = model.get_layer("tokens")
    values = keras.Model(inputs, patch_of.output)(images(size))[:, 2:]
    alpha = values[:, wanted - 2] * 2 / (rows * columns)
    expected = tf.nn.relu(tf.einsum("bnc,bc->bn", values, alpha))
    np.testing.assert_allclose(tf.reshape(maps, [3, -1]), expected, rtol=1e-4, atol=1e-5)


def test_the_last_activation_of_a_class_token_model_is_before_the_last_attention():
    model = vit()
    found = tfxai.grad_cam(model)(images(), 1)
    assert found.shape == (3, 16, 8, 1)
    assert np.asarray(found).any((1, 2, 3)).all()
    np.testing.assert_allclose(
        found, tfxai.grad_cam(model, layer="second_norm")(images(), 1), rtol=1e-5
    )
    with pytest.warns(UserWarning, match="zero everywhere"):
        tfxai.grad_cam(model, layer="last_norm").explain(images(), 1, verbose=0)


def test_channels_first_tokens_are_found(tmp_path):
    inputs = keras.Input((16, 8, 3))
    x = L.Permute((3, 1, 2))(L.Conv2D(8, (4, 2), strides=(4, 2), name="patches")(inputs))
    x = L.Reshape((8, 16))(x)  # [B, C, N], as after a flatten(2) of PyTorch
    x = L.Add(name="tokens")([x, x])
    model = keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling1D()(L.Permute((2, 1))(x))))
    maps = tfxai.grad_cam(model, layer="tokens", upsample=None)(images(), [0, 1, 2])
    expected = tfxai.grad_cam(model, layer="patches", upsample=None)(images(), [0, 1, 2])
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-7)
    explainer = tfxai.grad_cam(vit(), upsample="nearest")
    assert explainer(images(), 0).shape == (3, 16, 8, 1)


@pytest.mark.parametrize("upsample", ["bilinear", "nearest"])
def test_volumes_have_maps_of_their_size(upsample):
    inputs = keras.Input((6, 8, 4, 2))
    x = L.Conv3D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    model = keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling3D()(x)))
    volumes = np.random.default_rng(0).normal(size=(2, 6, 8, 4, 2))
    small = tfxai.grad_cam(model, upsample=None)(volumes, 1)
    assert small.shape == (2, 3, 4, 2, 1)
    maps = tfxai.grad_cam(model, upsample=upsample)(volumes, 1)
    assert maps.shape == (2, 6, 8, 4, 1)
    slow = np.asarray(small)
    for axis in (1, 2, 3):
        slow = resized(slow, axis, upsample)
    np.testing.assert_allclose(maps, slow, rtol=1e-5, atol=1e-6)


def resized(values, axis, method):
    """Double the size of an axis, in numpy."""
    size = values.shape[axis]
    at = (np.arange(2 * size) + 0.5) / 2 - 0.5
    if method == "nearest":
        return np.take(values, np.arange(2 * size) // 2, axis)
    at = np.clip(at, 0, size - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, size - 1)
    weight = (at - low).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    return np.take(values, low, axis) * (1 - weight) + np.take(values, high, axis) * weight


def test_a_class_token_of_a_sequence_is_left_out():
    inputs = keras.Input((9, 3))
    x = L.Conv1D(8, 3, padding="same", activation="relu", name="steps")(inputs)
    x = encoder_block(Prepended(1)(x), "only")
    model = keras.Model(inputs, L.Dense(2)(x[:, 0]))
    record = tfxai.grad_cam(model).explain(
        np.random.default_rng(0).normal(size=(2, 9, 3)), 0, verbose=0
    )
    assert record.attributions.shape == (2, 9, 1)
    np.testing.assert_array_equal(record.diagnostics["left_out_tokens"], [[0], [0]])


def test_rows_read_by_an_lstm_have_a_map_over_the_image():
    inputs = keras.Input((8, 6, 1))
    x = L.LSTM(5, return_sequences=True)(L.Reshape((8, 6))(inputs))
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling1D()(x)))
    x = np.random.default_rng(0).normal(size=(3, 8, 6, 1))
    maps = tfxai.grad_cam(model, upsample="nearest")(x, [0, 1, 1]).numpy()
    assert maps.shape == (3, 8, 6, 1)
    assert maps.any()
    assert (maps == maps[:, :, :1]).all()


def test_latent_tokens_have_no_places():
    inputs = keras.Input((16, 8, 3))
    x = patches_by_convolution(inputs, (4, 2))
    latents = Prepended(5)(x)[:, :5]
    y = L.Add(name="latents")([latents, L.MultiHeadAttention(2, 4)(latents, x)])
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling1D()(y)))
    with pytest.raises(ValueError, match=r"layer='latents' gives \(None, 5, 8\).*nothing tells"):
        tfxai.grad_cam(model, layer="latents")(images(), 0)
    assert tfxai.grad_cam(model, layer="latents", upsample=None)(images(), 0).shape == (3, 5, 1)
    assert tfxai.grad_cam(model)(images(), 0).shape == (3, 16, 8, 1)


def test_a_layer_with_several_calls_is_refused_by_name():
    inputs = keras.Input((8, 8, 3))
    layer = L.Conv2D(3, 3, padding="same", activation="relu", name="twice")
    x = layer(layer(inputs))
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    with pytest.raises(ValueError, match=r"layer='twice' is called 2 times; say which.*twice@1"):
        tfxai.grad_cam(model, layer="twice")(images((8, 8)), 0)
    np.testing.assert_array_equal(
        tfxai.grad_cam(model, layer="twice@2")(images((8, 8)), 0),
        tfxai.grad_cam(model)(images((8, 8)), 0),
    )
