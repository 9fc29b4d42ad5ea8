"""Models of uint8 pixels are explained behind the cast; ids that are looked up are not."""

import keras
import numpy as np
import pytest

import tfxai

L = keras.layers


def layers(activation):
    keras.utils.set_random_seed(0)
    return [
        L.Rescaling(1 / 127.5, -1),
        L.Conv2D(4, 3, activation=activation),
        L.GlobalAveragePooling2D(),
        L.Dense(3),
    ]


def pixels():
    return np.random.default_rng(0).integers(0, 256, (3, 7, 6, 3)).astype("uint8")


@pytest.mark.parametrize("activation", ["relu", "swish"])
@pytest.mark.parametrize("flipped", [False, True])
def test_pixels_have_the_maps_of_floats(activation, flipped):
    models = []
    for dtype in ("uint8", "float32"):
        x = inputs = keras.Input((7, 6, 3), dtype=dtype)
        x = x[..., ::-1] if flipped else x
        for layer in layers(activation):
            x = layer(x)
        models.append(keras.Model(inputs, x))
    np.testing.assert_allclose(models[0](pixels()), models[1](pixels()), rtol=1e-5)
    for method in (tfxai.gradient, tfxai.integrated_gradients, tfxai.smoothgrad, tfxai.noisegrad):
        found = method(models[0])(pixels(), [0, 2, 1])
        assert found.numpy().any()
        np.testing.assert_allclose(
            found, method(models[1])(pixels(), [0, 2, 1]), rtol=1e-3, atol=1e-6
        )
    assert "_convert_inputs_to_tensors" not in vars(models[0])
    cut = models[0](np.full((1, 7, 6, 3), 100.9, "float32"))
    np.testing.assert_allclose(cut, models[0](np.full((1, 7, 6, 3), 100, "uint8")), rtol=1e-5)


def test_pixels_have_the_second_derivatives_of_floats():
    models = [keras.Sequential([keras.Input((4,), dtype=d)]) for d in ("uint8", "float32")]
    keras.utils.set_random_seed(0)
    shared = [L.Rescaling(1 / 255), L.Dense(6, "swish"), L.Dense(3)]
    for model in models:
        for layer in shared:
            model.add(layer)
    x = np.array([[0, 100, 255, 3], [7, 1, 200, 0]], np.uint8)
    vectors = np.array([[1, 2, -1, 0], [3, 0, 0, -2]], np.float32)
    found, expected = (tfxai.hessian.hvp(m, x, vectors, [2, 0]) for m in models)
    assert np.abs(expected).max() > 1e-7
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-10)
    found, expected = (tfxai.hessian.max_eigenvalue(m, x, [2, 0]).value for m in models)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_integers_that_are_computed_with_stay_integers():
    inputs = keras.Input((4,), dtype="int32")
    model = keras.Model(inputs, L.Dense(2)(keras.ops.cast(inputs // 2, "float32")))
    with pytest.raises(ValueError, match="cast to integers"):
        tfxai.gradient(model)(np.ones((2, 4), "int32"), 0)
