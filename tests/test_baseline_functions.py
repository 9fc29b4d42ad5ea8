"""A reference for each example: a batch under a function equals its examples one by one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.networks import quadratic, small_cnn, with_patterns
from tests.noise import noise_of
from tests.own_references import Scaled, own_blur, slow_own_blur, two_each
from tests.thorough import quick
from tfxai import baselines, kernels, quadrature
from tfxai.estimation import samplers

ONE_EACH = {
    "integrated_gradients": lambda m, b: tfxai.integrated_gradients(m, steps=9, baseline=b),
    "a rule": lambda m, b: tfxai.integrated_gradients(
        m, steps=4, quadrature=quadrature.gauss_legendre, baseline=b
    ),
    "of guided backprop": lambda m, b: tfxai.integrated_gradients(
        tfxai.guided_backprop(m), steps=4, baseline=b
    ),
    "of noisy weights": lambda m, b: tfxai.noisegrad(
        tfxai.integrated_gradients(m, steps=4, baseline=b), samples=2
    ),
    "pattern_guided": lambda m, b: with_patterns(
        tfxai.pattern_guided_integrated_gradients, steps=3, baseline=b
    )(m),
    "igos": lambda m, b: tfxai.igos(
        m, resolution=4, steps=3, iterations=2, lambda1=1e-3, lambda2=1e-2, baseline=b
    ),
    "meaningful_perturbation": lambda m, b: tfxai.meaningful_perturbation(
        m, resolution=4, iterations=3, baseline=b
    ),
    "rise": lambda m, b: tfxai.rise(m, masks=12, grid=3, baseline=b),
    "occlusion": lambda m, b: tfxai.occlusion(m, patch=3, baseline=b),
}


@pytest.mark.parametrize(
    "name",
    quick(
        ONE_EACH,
        *("integrated_gradients", "a rule", "igos", "meaningful_perturbation"),
        *("rise", "occlusion"),
    ),
)
def test_a_batch_equals_its_examples_one_by_one(name, cnn, images):
    """The batch is explained in parts, and each example has a blur of its own."""
    build, some = ONE_EACH[name], images[:3]
    found = build(cnn, own_blur).explain(some, 1, batch_size=2, verbose=0, seed=3)
    for i in (1, 2):  # the second of two, and one alone
        image = some[i]
        alone = build(cnn, slow_own_blur(image)).explain(image[None], 1, verbose=0, seed=3)
        size = np.abs(alone.attributions).max()
        assert size > 0
        np.testing.assert_allclose(
            found.attributions[i], alone.attributions[0], rtol=1e-4, atol=1e-4 * size
        )


SEVERAL_EACH = {
    "path": lambda m, b: tfxai.integrated_gradients(m, steps=5, baseline=b),
    "samples": lambda m, b: tfxai.expected_gradients(m, b, samples=6),
    "to a tolerance": lambda m, b: tfxai.expected_gradients(
        m, b, tolerance=0.5, max_samples=30, resolution=2
    ),
}


@pytest.mark.parametrize("name", quick(SEVERAL_EACH, "path", "samples"))
def test_several_references_of_each_example(name, cnn, images):
    build = SEVERAL_EACH[name]
    found = build(cnn, two_each).explain(images[:3], 1, batch_size=2, verbose=0, seed=3)
    for i in (1, 2):
        image = images[i]
        both = np.stack([slow_own_blur(image), image / 2])
        alone = build(cnn, both).explain(image[None], 1, verbose=0, seed=3)
        np.testing.assert_allclose(
            found.attributions[i], alone.attributions[0], rtol=1e-3, atol=1e-5
        )


def test_an_explanation_that_is_smoothed_asks_for_references_of_its_noisy_copies():
    """M(x) = 1/N sum_k IG(x + n_k), and x'(x) = x^2 is that of x + n_k; for f = x'Ax / 2."""
    matrix = np.array([[2.0, 1.0, 0.5], [1.0, -3.0, 0.2], [0.5, 0.2, 1.0]])
    x = np.array([[0.3, -0.7, 1.1], [1.2, 0.4, -0.5]], "float32")
    inner = tfxai.integrated_gradients(quadratic(matrix), steps=5, baseline=lambda x: x**2)
    found = tfxai.smoothgrad(inner, samples=4, noise_level=0.1).explain(x, 0, verbose=0, seed=2)
    sampler = samplers.noise(kernels.gaussian, samplers.relative(0.1))
    points = x + noise_of(sampler, x, 4, seed=2)
    start = points**2
    exact = (points - start) * ((points + start) / 2 @ matrix)
    np.testing.assert_allclose(found.attributions, -exact.mean(0), rtol=1e-4, atol=1e-5)


def test_several_inputs_come_as_the_model_takes_them():
    """Their names are out of alphabetical order, and their shapes are equal."""
    keras.utils.set_random_seed(5)
    late, early = keras.Input((4,), name="zz"), keras.Input((4,), name="aa")
    joined = keras.layers.Concatenate()([late, keras.layers.Dense(3, "tanh")(early)])
    model = keras.Model({"zz": late, "aa": early}, keras.layers.Dense(2)(joined))
    random = np.random.default_rng(0)
    inputs = {"zz": random.normal(size=(3, 4)), "aa": random.normal(size=(3, 4))}

    def references(given):
        assert set(given) == {"zz", "aa"}
        return {"aa": given["aa"] * 2, "zz": tf.zeros_like(given["zz"])}

    found = tfxai.integrated_gradients(model, baseline=references)(inputs, 1)
    for i in (1, 2):
        one = {name: x[i : i + 1] for name, x in inputs.items()}
        start = {"zz": np.zeros(4), "aa": one["aa"][0] * 2}
        alone = tfxai.integrated_gradients(model, baseline=start)(one, 1)
        for name, values in alone.items():
            np.testing.assert_allclose(found[name][i], values[0], rtol=1e-4, atol=1e-6)


def test_inputs_with_one_reference_and_with_several():
    """The one goes with each of the several."""
    row, other = tf.ones([2, 3]), tf.ones([2, 2])
    several = np.arange(8.0).reshape(4, 2)
    found = baselines.baseline({"a": 5.0, "b": several})({"a": row, "b": other})
    assert [r.shape[0] for r in found.values()] == [4, 4]
    np.testing.assert_array_equal(found["b"][:, 0], several)
    np.testing.assert_array_equal(found["a"], np.full((4, 1, 1), 5.0))
    with pytest.raises(ValueError, match="baseline has 3 and 4 references"):
        baselines.baseline({"a": np.ones((3, 3)), "b": several})({"a": row, "b": other})


def test_the_function_works_in_the_type_of_the_method_and_is_traced_once(images):
    seen = []

    def halved(inputs):
        seen.append((inputs.dtype, inputs.shape[0]))
        return tf.cast(inputs / 2, tf.float16)

    explainer = tfxai.integrated_gradients(small_cnn(policy="float64"), steps=3, baseline=halved)
    explainer(images[:2].astype("float64"))
    traces = len(seen)
    assert set(seen) == {(tf.float64, None)}
    for size in (1, 5):
        explainer(images[:size].astype("float64"))
    assert len(seen) == traces


REGISTERED = {
    "own_blur": own_blur,
    "two_each": two_each,
    "Scaled": Scaled(0.25),
    "rise_blur": baselines.rise_blur,
}


@pytest.mark.parametrize("name", quick(REGISTERED, "own_blur", "Scaled"))
def test_registered_functions_are_saved_and_loaded(name, cnn, images, tmp_path):
    baseline = REGISTERED[name]
    options = {"steps": 3, "quadrature": quadrature.midpoint, "baseline": baseline}
    explainer = tfxai.smoothgrad(tfxai.integrated_gradients(cnn, **options), samples=2)
    maps = explainer(images)
    explainer.save(tmp_path / "explainer.keras")
    loaded = keras.saving.load_model(tmp_path / "explainer.keras")
    np.testing.assert_allclose(loaded(images), maps, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(loaded(images[3:]), maps[3:], rtol=1e-4, atol=1e-6)
    assert explainer.settings["base"]["baseline"] == name
    assert loaded.settings == explainer.settings
    assert explainer.on(cnn).settings == explainer.settings


@pytest.mark.parametrize(
    "build",
    [
        lambda m: tfxai.expected_gradients(m, own_blur),
        lambda m: tfxai.igos(m, baseline=own_blur),
        lambda m: tfxai.meaningful_perturbation(m, baseline=own_blur),
        lambda m: tfxai.rise(m, baseline=own_blur),
        lambda m: tfxai.occlusion(m, baseline=own_blur),
        with_patterns(tfxai.pattern_guided_integrated_gradients, baseline=own_blur),
    ],
)
def test_every_builder_keeps_the_function(build, cnn):
    explainer = build(cnn)
    loaded = type(explainer).from_config(explainer.get_config())
    assert loaded.settings == explainer.settings


def test_functions_that_no_file_can_find_again_are_refused_when_saved(cnn):
    def local(images):
        return images / 2

    for function, name in (
        (lambda images: images / 2, "<lambda>"),
        (local, "local"),
        (keras.layers.Dense(3), "Dense"),
    ):
        explainer = tfxai.integrated_gradients(cnn, steps=2, baseline=function)
        with pytest.raises(ValueError, match=f"baseline={name} cannot be saved.*register_keras"):
            explainer.get_config()


def test_numpy_code_can_be_called(cnn, images):
    def code(values):
        return np.stack([slow_own_blur(v) for v in values]).astype(values.dtype)

    def by_numpy(x):
        return tf.ensure_shape(tf.numpy_function(code, [x], x.dtype), x.shape)

    found, expected = (
        tfxai.integrated_gradients(cnn, steps=3, quadrature=quadrature.midpoint, baseline=b)
        for b in (by_numpy, own_blur)
    )
    found, expected = found(images, 1), expected(images, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: np.exp(x), "in a graph: write it with TensorFlow's operations or keras.ops"),
        (lambda x: tf.constant(x.numpy()), "in a graph: .* It failed with: .*numpy"),
        (lambda x: x if x[0, 0, 0, 0] > 0 else -x, "is called in a graph"),
        (lambda x: x / (x - x), "gives NaN or infinite values"),
        (lambda x: 0.0, r"gives \(\) for inputs \(None, 8, 8, 3\): expected a reference of each"),
        (lambda x: np.zeros((8, 8, 3)), r"gives \(8, 8, 3\) for inputs"),
        (lambda x: np.zeros((5, 8, 8, 3)), r"gives \(5, 8, 8, 3\).* computed from it"),
        (lambda x: np.zeros((2, 5, 8, 8, 3)), r"gives \(2, 5, 8, 8, 3\)"),
        (lambda x: np.zeros((0, 1, 8, 8, 3)), r"gives \(0, 1, 8, 8, 3\)"),
        (lambda x: tf.reduce_mean(x, 0, keepdims=True), r"gives \(1, 8, 8, 3\)"),
        (lambda x: x[:, :4], r"gives \(None, 4, 8, 3\)"),
        (lambda x: x[:1], "expected a reference for each example"),
        (lambda x: tf.concat([x, x], 0), "expected a reference for each example"),
        (lambda x: tf.tile(x[None], [tf.shape(x)[0], 1, 1, 1, 1]), "with a fixed R"),
        (lambda x: tf.numpy_function(np.copy, [x], x.dtype), "tf.ensure_shape states"),
        (lambda x: tf.cast(x, tf.complex64), "gives complex64: expected numbers"),
        (lambda x: tf.strings.as_string(x), "gives string: expected numbers"),
        (lambda x: [x], "expected the structure of its inputs"),
        (lambda x: None, "expected the structure of its inputs|None"),
    ],
)
def test_what_a_function_may_not_give(function, message, cnn, images):
    with pytest.raises(ValueError, match=f"(?s)baseline=<lambda>.*{message}"):
        tfxai.integrated_gradients(cnn, steps=2, baseline=function)(images)


def test_a_function_among_arrays_is_refused(cnn):
    with pytest.raises(ValueError, match="pass one function of all inputs"):
        tfxai.integrated_gradients(cnn, baseline=[own_blur])


def test_masks_take_one_reference_of_each_image(cnn, images):
    for build in (tfxai.igos, tfxai.occlusion):
        with pytest.raises(ValueError, match="a batch of 2 references; pass one image, or a func"):
            build(cnn, baseline=two_each)(images)


def test_the_references_of_arrays_are_shared_and_those_of_functions_are_not(cnn, images):
    """Even where there are as many as examples."""
    some, options = images[:2], {"steps": 6, "quadrature": quadrature.midpoint}

    def by(baseline):
        return tfxai.integrated_gradients(cnn, baseline=baseline, **options)(some, 1)

    np.testing.assert_array_equal(by(lambda x: x), np.zeros_like(some))
    shared, each = by(some), [by(x) for x in some]
    np.testing.assert_allclose(shared, np.mean(each, 0), rtol=1e-4, atol=1e-6)
