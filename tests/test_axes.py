"""Channels-first models are explained as their channels-last twins: every map, moved, is equal."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.networks import Subclassed, channels_first_twin, channels_moved
from tests.thorough import quick
from tfxai.core import axes
from tfxai.estimation.accuracy import pooled_error
from tfxai.estimation.aggregators import mean
from tfxai.methods.second_order.sparsity import sparsity
from tfxai.models import convolution_checks
from tfxai.models.model_info import ModelInspector

L = keras.layers
ops = keras.ops
SIZE = (12, 10)
"""Not square, so that axes that are taken for each other show."""


@pytest.fixture(scope="module")
def last():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((*SIZE, 3))
    x = L.Conv2D(4, 3, activation="relu", name="first")(inputs)
    x = L.Conv2D(4, 3, strides=2, activation="relu", name="second")(x)
    return keras.Model(inputs, L.Dense(3)(L.Flatten()(x)))


@pytest.fixture(scope="module")
def first(last):
    return channels_first_twin(last)


@pytest.fixture(scope="module")
def images():
    size = (2, *SIZE, 3)
    return np.random.default_rng(0).normal(size=size).astype("float32") * [[[[1.0, 2.0, 0.5]]]]


BUILDERS = {
    "rise": lambda m: tfxai.rise(m, masks=12, grid=3, baseline="mean"),
    "rise, own masks": lambda m: tfxai.rise(m, masks=np.eye(120).reshape(120, *SIZE) + 0.5),
    "occlusion": lambda m: tfxai.occlusion(m, patch=(3, 2), baseline="blur"),
    "igos": lambda m: tfxai.igos(m, resolution=(4, 3), steps=3, iterations=3),
    "mask": lambda m: tfxai.meaningful_perturbation(m, resolution=(3, 4), iterations=3),
    "grad_cam": tfxai.grad_cam,
    "grad_cam, a layer": lambda m: tfxai.grad_cam(m, layer="first", upsample=None),
    "guided_grad_cam": tfxai.guided_grad_cam,
    "excitation": lambda m: tfxai.excitation_backprop(m, layer="second"),
    "blur": lambda m: tfxai.integrated_gradients(m, steps=4, baseline="blur"),
    "mean": lambda m: tfxai.integrated_gradients(m, steps=4, baseline="mean"),
    "noise": lambda m: tfxai.integrated_gradients(m, steps=4, baseline="noise"),
    "cafo": tfxai.cafo,
    "caso": lambda m: tfxai.caso(m, lambda1="bisect"),
}


@pytest.mark.filterwarnings("ignore:.*not converged after 4 steps")
@pytest.mark.filterwarnings("ignore:.*(zero everywhere|far from complete)")
@pytest.mark.parametrize(
    "name",
    quick(
        BUILDERS,
        *("rise", "occlusion", "igos", "mask", "grad_cam, a layer", "excitation"),
        *("rise, own masks", "blur", "mean", "noise", "cafo"),
    ),
)
def test_maps_and_numbers_are_those_of_the_channels_last_model(name, first, last, images):
    expected = BUILDERS[name](last).explain(images, [0, 2], verbose=0)
    found = BUILDERS[name](first).explain(channels_moved(images), [0, 2], verbose=0)
    np.testing.assert_allclose(
        found.attributions, channels_moved(expected.attributions), rtol=1e-4, atol=1e-6
    )
    assert np.ptp(expected.attributions) > 0
    for key, value in expected.diagnostics.items():
        moved = channels_moved(value) if value.ndim == 4 else value
        np.testing.assert_allclose(found.diagnostics[key], moved, rtol=1e-3, atol=1e-5, err_msg=key)


def test_an_explainer_that_is_built_upon_another_one_has_its_order(first, last, images):
    def nested(model):
        of = tfxai.occlusion(model, patch=4)
        return tfxai.smoothgrad(of, samples=2, epsilon=0.0)

    expected = nested(last).explain(images, 1, verbose=0)
    found = nested(first).explain(channels_moved(images), 1, verbose=0)
    np.testing.assert_allclose(
        found.attributions, channels_moved(expected.attributions), rtol=1e-4, atol=1e-6
    )


def test_an_explainer_of_a_channels_first_model_is_saved_and_loaded(first, images, tmp_path):
    explainer = tfxai.occlusion(first, patch=3)
    x = channels_moved(images)
    expected = explainer(x, 1)
    assert expected.shape == (2, 1, *SIZE)
    explainer.save(tmp_path / "occlusion.keras")
    loaded = keras.saving.load_model(tmp_path / "occlusion.keras")
    np.testing.assert_allclose(loaded(x[:1], 1), expected[:1], rtol=1e-5, atol=1e-6)


def test_a_subclassed_model_tells_its_order_when_it_sees_images(last, images):
    expected = tfxai.occlusion(last, patch=4)(images, 1)
    found = tfxai.occlusion(Subclassed(lambda x: ops.transpose(x, (0, 2, 3, 1)), last), patch=4)(
        channels_moved(images), 1
    )
    np.testing.assert_allclose(found, channels_moved(expected), rtol=1e-4, atol=1e-6)


def reading(*layers, shape):
    inputs = keras.Input(shape)
    x = inputs
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(x)))


def channels(model):
    return ModelInspector(model).order(tf.zeros([1, *model.input_shape[1:]])).channels[0]


@pytest.mark.parametrize("front", [[], [L.Rescaling(2.0, -1.0)], [L.ReLU(), L.ZeroPadding2D(1)]])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.Conv2D(2, 3, dilation_rate=2),
        lambda: L.DepthwiseConv2D(3),
        lambda: L.SeparableConv2D(2, 3),
        lambda: L.MaxPooling2D(),
        lambda: L.AveragePooling2D(2),
        lambda: L.GlobalAveragePooling2D(),
        lambda: L.GlobalMaxPooling2D(),
        lambda: L.Resizing(5, 6),
        lambda: L.UpSampling2D(2, interpolation="bilinear"),
    ],
)
def test_the_first_operation_with_positions_tells_where_the_channels_are(layer, front):
    assert channels(reading(*front, layer(), shape=(12, 10, 7))) == -1
    assert channels(reading(*front, L.Permute((2, 3, 1)), layer(), shape=(7, 12, 10))) == -3
    assert channels(reading(L.Permute((1, 3, 2)), *front, layer(), shape=(12, 7, 10))) == -2


@pytest.mark.parametrize(
    "layer",
    [
        lambda f: L.MaxPooling2D(data_format=f),
        lambda f: L.DepthwiseConv2D(3, data_format=f),
        lambda f: L.GlobalAveragePooling2D(data_format=f),
        lambda f: L.Resizing(5, 6, data_format=f),
    ],
)
def test_layers_that_are_channels_first_themselves_tell_so(layer):
    model = reading(layer("channels_first"), shape=(12, 10, 7))
    assert channels(model) == -3
    assert channels(reading(layer("channels_last"), shape=(12, 10, 7))) == -1


def test_sequences_have_an_order_too():
    keras.utils.set_random_seed(1)
    last = reading(L.Conv1D(4, 3, activation="relu"), shape=(9, 5))
    first = keras.Sequential([keras.Input((5, 9)), L.Permute((2, 1)), last])
    assert (channels(last), channels(first)) == (-1, -2)
    x = np.random.default_rng(0).normal(size=(2, 9, 5))
    expected = tfxai.grad_cam(last)(x, 1)
    found = tfxai.grad_cam(first)(np.swapaxes(x, 1, 2), 1)
    np.testing.assert_allclose(found, np.swapaxes(expected, 1, 2), rtol=1e-4, atol=1e-6)
    assert np.ptp(expected) > 0


def dense(shape):
    keras.utils.set_random_seed(2)
    return reading(shape=shape)


def test_images_that_look_channels_first_are_refused_where_nothing_tells():
    model, x = dense((3, *SIZE)), np.ones((2, 3, *SIZE))
    for explainer in (
        tfxai.occlusion(model),
        tfxai.rise(model, masks=4),
        tfxai.integrated_gradients(model, baseline="blur"),
    ):
        with pytest.raises(ValueError, match=r"\[B, 3, 12, 10\] look channels-first.*data_format"):
            explainer(x, 0)
    with pytest.raises(ValueError, match="data_format='first'"):
        tfxai.occlusion(model, data_format="first")


def test_what_is_said_of_the_order_holds(images):
    inputs = keras.Input((*SIZE, 3))
    model = dense((3, *SIZE))
    last = keras.Model(inputs, model(L.Permute((3, 1, 2))(inputs)))
    expected = tfxai.occlusion(last, patch=4)(images, 1)
    found = tfxai.occlusion(model, patch=4, data_format="channels_first")
    np.testing.assert_allclose(
        found(channels_moved(images), 1), channels_moved(expected), rtol=1e-4, atol=1e-6
    )
    other = tfxai.occlusion(dense((3, *SIZE)), patch=2, data_format="channels_last")
    assert other(channels_moved(images), 1).shape == (2, 3, 12, 1)


def test_rows_and_columns_are_not_taken_for_channels():
    assert axes.order_of(np.zeros((2, 4, 4, 512))).channels == (-1,)
    assert axes.order_of(np.zeros((2, 28, 28, 1))).channels == (-1,)
    assert axes.order_of([np.zeros((2, 3, 32, 32)), np.zeros((2, 9))]).channels == (None, -1)


def test_the_picture_of_a_sampled_map_and_sparsity_follow_the_order():
    noise = np.random.default_rng(0).normal(size=(6, 2, 8, 6, 3)) + 1
    maps = {"last": noise, "first": np.moveaxis(noise, -1, 2)}
    errors, shares = {}, {}
    for name, values in maps.items():
        order = axes.Order((-1 if name == "last" else -3,))
        state = mean().init(tf.zeros([2, 144], tf.float64))
        for value in values:
            state = mean().update(state, tf.constant(value.reshape(2, -1)), tf.ones([], tf.float64))
        like = tf.constant(values[0])
        errors[name] = pooled_error(mean().result(state), like, 4, order)
        sparse = np.where(np.abs(values[0]) > 1.5, values[0], 0).reshape(2, 1, -1)
        shares[name] = sparsity(tf.constant(sparse), like, order)
    np.testing.assert_allclose(errors["first"], errors["last"], rtol=1e-9)
    np.testing.assert_allclose(shares["first"], shares["last"], rtol=1e-9)
    image = noise[0]
    assert shares["last"].numpy().mean() == pytest.approx((np.abs(image) <= 1.5).all(-1).mean())


def channels_first_convolutions():
    keras.utils.set_random_seed(0)
    f = "channels_first"
    layers = [L.Conv2D(4, 3, activation="relu", data_format=f, name="one")]
    layers += [L.Conv2D(4, 3, data_format=f), L.ReLU(), L.GlobalAveragePooling2D(data_format=f)]
    return keras.Sequential([keras.Input((3, *SIZE)), *layers, L.Dense(3)])


def channels_last_convolutions(like):
    layers = [L.Conv2D(4, 3, activation="relu", name="one"), L.Conv2D(4, 3), L.ReLU()]
    end = [L.GlobalAveragePooling2D(), L.Dense(3)]
    model = keras.Sequential([keras.Input((*SIZE, 3)), *layers, *end])
    model.set_weights(like.get_weights())
    return model


@pytest.mark.parametrize("name", quick(["occlusion", "grad_cam", "igos"], "occlusion", "grad_cam"))
def test_channels_first_convolutions_are_explained_or_refused(name, images):
    model = channels_first_convolutions()
    explainer, x = BUILDERS[name](model), channels_moved(images)
    if not convolution_checks._runs_channels_first():
        with pytest.raises(ValueError, match=r"channels-first images.*TF_ENABLE_ONEDNN_OPTS=1"):
            explainer(x, 0)
        return
    expected = BUILDERS[name](channels_last_convolutions(model))(images, 1)
    np.testing.assert_allclose(explainer(x, 1), channels_moved(expected), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "use",
    [
        lambda m, x: tfxai.gradient(m)(x),
        lambda m, x: tfxai.gradient(m)(x, 0),
        lambda m, x: tfxai.smoothgrad(m, samples=2).explain(x, 0, verbose=0),
        lambda m, x: tfxai.grad_cam(m, layer="one")(x, 0),
        lambda m, x: tfxai.guided_backprop(m)(x, 0),
        lambda m, x: tfxai.caso(m)(x, 0),
        lambda m, x: tfxai.hessian.hvp(m, x, x, 0),
        lambda m, x: tfxai.logits(m),
        lambda m, x: tfxai.fit_patterns(m, x),
        lambda m, x: tfxai.metrics.deletion(m, x, x[:, :1], 0),
        lambda m, x: tfxai.metrics.completeness(m, x, x, 0),
        lambda m, x: tfxai.export(m, "unused", {"gradient": tfxai.gradient(m)}),
    ],
)
def test_what_this_machine_cannot_compute_is_refused_in_a_sentence(use, images, monkeypatch):
    monkeypatch.setattr(convolution_checks, "_runs_channels_first", lambda: False)
    with pytest.raises(ValueError, match=r"set_image_data_format|channels come first") as refused:
        use(channels_first_convolutions(), channels_moved(images))
    assert "\n" not in str(refused.value)
