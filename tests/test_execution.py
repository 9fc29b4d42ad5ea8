"""Every method, however it is run, gives the same numbers.

Eager, in a graph, by predict over a dataset, inside a functional model, from a .keras file and
from a SavedModel; in float32, float64 and mixed precision; without a new trace for another batch
size, target or seed; whatever the batch and the chunk. A method joins by its line in BUILDERS.
"""

import functools
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.methods import BUILDERS, MASKS
from tests.networks import Subclassed, small_cnn, two_inputs
from tests.thorough import quick
from tfxai.quadrature import right_riemann

ULP = {"rtol": 1e-4, "atol": 1e-6}
VARIANTS = {
    *("gauss_legendre", "references", "blur", "black", "smoothgrad_squared", "smoothed_ig"),
    *("vargrad", "cafo", "deconvnet", "pattern_net", "gradient_times_input", "smoothed_eg"),
    *("pattern_guided", "noisy_patterns", "igos_published", "igos_averaged"),
    *("meaningful_perturbation", "occlusion", "input_times_smoothgrad", "tolerance", "fusiongrad"),
    *("random_attribution", "expected_gradients", "smooth_to_tolerance", "excitation_backprop"),
    *("guided_grad_cam", "rise"),
}
"""What is saved in a way of its own, and executed like others."""
ALIKE = {
    *("blur", "deconvnet", "smoothgrad_squared", "smoothed_ig", "igos_averaged", "vargrad"),
    *("tolerance", "smoothed_eg", "input_times_smoothgrad", "guided_grad_cam"),
}
"""What is saved like others, too."""
WHOLE = [name for name in BUILDERS if name not in VARIANTS]
"""What is run in every way."""


def ordered_images():
    """Examples that differ in size as well, in an order: from dark and faint to bright and strong.

    Random ones are alike, and hide what is done with the first of them alone.
    """
    random = np.random.default_rng(0).normal(size=(5, 8, 8, 3))
    ordered = (
        random * np.linspace(0.2, 1.5, 5)[:, None, None, None]
        + np.linspace(-1, 1, 5)[:, None, None, None]
    )
    return ordered.astype("float32")


@pytest.fixture
def images():
    return ordered_images()


@keras.saving.register_keras_serializable("tests")
class Counting(keras.layers.Layer):
    """Notes how often it is called."""

    def __init__(self, **options):
        super().__init__(**options)
        self.calls = []

    def call(self, x):
        self.calls.append(x.shape)
        return x


def counted_cnn():
    """A small CNN, and the list of its calls and traces."""
    keras.utils.set_random_seed(1)
    counting = Counting()
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, small_cnn()(counting(inputs))), counting.calls


class Explained(NamedTuple):
    """An explainer that the tests share, since tracing takes longer than all that they ask of it.

    Attributes:
        explainer: of a small CNN.
        maps: of `ordered_images`, as its first call gave them.
        calls: of the model, all while it was traced.
        first: how many of these there were when the first call was answered.
    """

    explainer: tfxai.Explainer
    maps: np.ndarray
    calls: list
    first: int


@functools.cache
def explained(name):
    model, calls = counted_cnn()
    explainer, images = BUILDERS[name](model), ordered_images()
    maps = explainer(images).numpy()
    assert maps.shape == (*images.shape[:-1], 1 if name in MASKS else 3)
    assert np.isfinite(maps).all()
    assert maps.any()
    return Explained(explainer, maps, calls, len(calls))


@pytest.mark.parametrize("name", BUILDERS)
def test_every_option_is_saved(name, cnn):
    explainer = BUILDERS[name](cnn)
    config = keras.saving.serialize_keras_object(explainer)
    assert keras.saving.deserialize_keras_object(config).settings == explainer.settings


@pytest.mark.filterwarnings("ignore:.*(far from complete|not converged)")
@pytest.mark.parametrize(
    "name",
    quick(
        sorted(VARIANTS - ALIKE),
        *("gauss_legendre", "references", "expected_gradients", "fusiongrad", "noisy_patterns"),
    ),
)
def test_variants_are_saved_and_explain_in_batches(name, images, tmp_path):
    explainer, maps, *_ = explained(name)
    record = explainer.explain(images, batch_size=2, verbose=0)
    np.testing.assert_allclose(record.attributions, maps, **ULP)
    explainer.save(tmp_path / "explainer.keras")
    loaded = keras.saving.load_model(tmp_path / "explainer.keras")
    np.testing.assert_array_equal(loaded(images), maps)


@pytest.mark.parametrize("name", WHOLE)
def test_all_ways_to_run_give_equal_numbers(name, images, tmp_path):
    explainer, maps, *_ = explained(name)
    graph = tf.function(lambda x: explainer(x))
    np.testing.assert_array_equal(graph(tf.constant(images)), maps)
    # Whatever the batch that an example came in.
    for size in (1, 2, 5):
        record = explainer.explain(images, batch_size=size, verbose=0)
        np.testing.assert_allclose(record.attributions, maps, **ULP)
    np.testing.assert_allclose(explainer(images[3:4])[0], maps[3], **ULP)

    dataset = tf.data.Dataset.from_tensor_slices(images).batch(2)
    np.testing.assert_allclose(explainer.predict(dataset, verbose=0), maps, **ULP)

    explainer.save(tmp_path / "explainer.keras")
    loaded = keras.saving.load_model(tmp_path / "explainer.keras")
    np.testing.assert_array_equal(loaded(images), maps)


@pytest.mark.parametrize(
    "name",
    quick(
        ["integrated_gradients", "noisegrad", "pattern_attribution", "igos"],
        "integrated_gradients",
    ),
)
def test_a_functional_model_may_hold_an_explainer(name, cnn, images, tmp_path):
    """Called, saved and exported."""
    explainer = BUILDERS[name](cnn)
    maps = explainer(images).numpy()
    inputs = keras.Input((8, 8, 3))
    both = keras.Model(inputs, {"prediction": cnn(inputs), "why": explainer(inputs)})
    assert both.output_shape[1] == (None, 8, 8, maps.shape[-1])
    np.testing.assert_array_equal(both(images)["why"], maps)
    np.testing.assert_array_equal(both(images, training=True)["why"], maps)
    np.testing.assert_allclose(both.predict(images, verbose=0)["why"], maps, **ULP)
    both.save(tmp_path / "both.keras")
    reloaded = keras.saving.load_model(tmp_path / "both.keras")(images)
    np.testing.assert_array_equal(reloaded["why"], maps)
    np.testing.assert_array_equal(reloaded["prediction"], cnn(images))

    both.export(tmp_path / "saved", verbose=False)
    served = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_array_equal(served.serve(images)["why"], maps)
    np.testing.assert_allclose(served.serve(images[:1])["why"], maps[:1], **ULP)


@pytest.mark.parametrize("name", WHOLE)
def test_nothing_is_traced_after_the_first_call(name, images):
    """Not another batch size, target, seed or way of asking."""
    explainer, _, calls, first = explained(name)
    explainer(images[:2], 1)
    explainer(images[:2])
    explainer.explain(images[:2], verbose=0)
    explainer(images, [0, 1, 2, 3, 4], seed=5)
    explainer(images[:1], 3, seed=6)
    explainer(images[:3])
    explainer.explain(images, 2, batch_size=2, verbose=0, seed=9)
    assert len(calls) == first


def test_nothing_is_traced_after_the_first_record(images):
    model, traces = counted_cnn()
    explainer = tfxai.integrated_gradients(model, steps=12)
    record = explainer.explain(images[:2], 1, verbose=0)
    before = len(traces)
    np.testing.assert_array_equal(explainer(images[:2], 1), record.attributions)
    explainer.explain(tf.data.Dataset.from_tensor_slices(images).batch(3), verbose=0)
    assert len(traces) == before


def test_whoever_waits_is_told(images, monkeypatch, capsys):
    monkeypatch.setattr("tfxai.explaining.waiting.PATIENCE", 0.0)
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    explainer = tfxai.gradient(small_cnn())
    explainer.explain(images, verbose=0)
    tfxai.gradient(small_cnn())(images)  # nobody reads this output as it comes
    assert capsys.readouterr().out == ""
    tfxai.gradient(small_cnn()).explain(images)
    out = capsys.readouterr().out
    assert "gradient: tracing functional" in out
    assert "gradient: explaining 5 examples ..." in out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    tfxai.gradient(small_cnn())(images)
    assert "gradient: tracing functional" in capsys.readouterr().out


DATASETS = {
    "examples": lambda x: tf.data.Dataset.from_tensor_slices(x).batch(2),
    "with labels": lambda x: tf.data.Dataset.from_tensor_slices((x, [9] * 5)).batch(3),
    "of unknown length": lambda x: tf.data.Dataset.from_generator(
        lambda: iter([x[:1], x[1:]]), output_signature=tf.TensorSpec([None, 8, 8, 3])
    ),
}


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize("targets", [None, 1, [0, 1, 2, 3, 4]])
def test_a_dataset_is_explained_like_its_examples(kind, targets, images, capsys):
    explainer = explained("integrated_gradients").explainer
    expected = explainer.explain(images, targets, verbose=0)
    found = explainer.explain(DATASETS[kind](images), targets, batch_size=2)
    np.testing.assert_allclose(found.attributions, expected.attributions, **ULP)
    np.testing.assert_array_equal(found.targets, expected.targets)
    np.testing.assert_allclose(found.scores, expected.scores, **ULP)
    np.testing.assert_array_equal(found.inputs, images)
    assert capsys.readouterr().out.endswith("\n")


@pytest.mark.filterwarnings("ignore:.*zero everywhere")
def test_a_dataset_is_gone_through_once_and_never_held_whole():
    pulled, live = [], []

    def examples():
        for i in range(6):
            pulled.append(i)
            yield np.full([2, 8, 8, 3], i, "float32")

    dataset = tf.data.Dataset.from_generator(
        examples, output_signature=tf.TensorSpec([None, 8, 8, 3])
    )
    explainer = tfxai.gradient(small_cnn())
    attribute = explainer._runner.attribute

    def watched(*arguments):
        live.append(len(pulled))
        return attribute(*arguments)

    explainer._runner.attribute = watched
    record = explainer.explain(dataset, 0, verbose=0)
    assert pulled == list(range(6))
    assert record.attributions.shape == (12, 8, 8, 3)
    assert live[0] <= 2  # explained as they come, not after the last


@pytest.mark.parametrize(
    ("dataset", "targets", "message"),
    [
        (lambda x: tf.data.Dataset.from_tensor_slices(x), None, "batch the dataset"),
        (lambda x: tf.data.Dataset.from_tensor_slices(x).batch(2).repeat(), None, "never ends"),
        (lambda x: tf.data.Dataset.from_tensor_slices(x).batch(2).take(0), None, "is empty"),
        (lambda x: tf.data.Dataset.from_tensor_slices(x).batch(2), [0, 1], "2 for a dataset of 4"),
        (lambda x: tf.data.Dataset.from_tensor_slices(x).batch(2), [0] * 7, "7 for the 5 examples"),
    ],
)
def test_a_dataset_that_cannot_be_explained(dataset, targets, message, images):
    with pytest.raises(ValueError, match=message):
        tfxai.gradient(small_cnn()).explain(dataset(images), targets, verbose=0)


CHUNKED = ("tolerance", "expected_gradients", "caso", "smooth_to_tolerance", "fusiongrad", "igos")


@pytest.mark.filterwarnings("ignore:.*not converged")
@pytest.mark.parametrize("name", quick(CHUNKED, "tolerance", "expected_gradients", "caso", "igos"))
def test_a_map_does_not_depend_on_the_memory_budget(name, cnn, images, monkeypatch):
    expected = explained(name).explainer.explain(images, verbose=0, seed=4)
    monkeypatch.setattr("tfxai.explaining.runner.memory_budget", lambda: 1)
    record = BUILDERS[name](cnn).explain(images, verbose=0, seed=4)
    np.testing.assert_allclose(record.attributions, expected.attributions, **ULP)
    for name, value in expected.diagnostics.items():
        np.testing.assert_allclose(record.diagnostics[name], value, rtol=2e-3, atol=1e-4)


PRECISE = (
    *("gradient", "integrated_gradients", "smoothgrad", "vargrad", "adaptgrad", "noisegrad"),
    *("guided_backprop", "excitation_backprop", "pattern_attribution"),
)


@functools.cache
def of_policy(name, policy):
    """An explainer of the same network in another precision."""
    model = small_cnn(policy=policy)
    model.set_weights(small_cnn().get_weights())
    return BUILDERS[name](model)


@pytest.mark.parametrize(
    ("name", "policy"),
    quick(
        [
            *((name, "mixed_float16") for name in (*PRECISE[1:], "igos")),
            *((n, "float64") for n in ("integrated_gradients", "noisegrad", "guided_backprop")),
            *((n, "mixed_bfloat16") for n in ("gradient", "noisegrad", "guided_backprop")),
        ],
        *((n, "mixed_float16") for n in ("integrated_gradients", "noisegrad", "guided_backprop")),
        ("pattern_attribution", "mixed_float16"),
        ("integrated_gradients", "float64"),
        ("gradient", "mixed_bfloat16"),
    ),
)
def test_precision(name, policy, images):
    full = explained(name).explainer(images, 1).numpy()
    explainer = of_policy(name, policy)
    maps = explainer(images, 1)
    assert maps.dtype == (tf.float64 if policy == "float64" else tf.float32)
    if policy != "float64" or not explainer.method.random:  # float64 has other random numbers
        cosine = np.sum(maps * full) / np.linalg.norm(maps) / np.linalg.norm(full)
        assert cosine > {"float64": 0.9999, "mixed_float16": 0.99, "mixed_bfloat16": 0.9}[policy]


def test_mixed_precision_survives_saving(images, tmp_path):
    explainer = of_policy("integrated_gradients", "mixed_float16")
    maps = explainer(images)
    explainer.save(tmp_path / "explainer.keras")
    np.testing.assert_array_equal(
        keras.saving.load_model(tmp_path / "explainer.keras")(images), maps
    )


@pytest.mark.parametrize("name", ["gradient", "adaptgrad", "guided_backprop", "igos"])
def test_integers_are_cast(name):
    pixels = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
    explainer = explained(name).explainer
    np.testing.assert_array_equal(explainer(pixels), explainer(pixels.astype("float32")))


@pytest.mark.parametrize("name", quick(["gradient", "noisegrad"], "gradient"))
def test_several_inputs_keep_their_structure_everywhere(name, tmp_path):
    model = two_inputs()
    random = np.random.default_rng(0)
    x = {
        "image": random.normal(size=(3, 6, 6, 1)).astype("float32"),
        "row": random.normal(size=(3, 4)).astype("float32"),
    }
    explainer = getattr(tfxai, name)(model)
    maps = explainer(x, 1)
    assert {k: v.shape for k, v in maps.items()} == {k: v.shape for k, v in x.items()}
    explainer.save(tmp_path / "explainer.keras")
    explainer.export(tmp_path / "saved", verbose=False)
    others = [
        explainer.explain(x, 1, verbose=0).attributions,
        keras.saving.load_model(tmp_path / "explainer.keras")(x, 1),
    ]
    for other in others:
        for key in x:
            np.testing.assert_allclose(other[key], maps[key], **ULP)
    predicted = explainer(x)
    saved = tf.saved_model.load(tmp_path / "saved")
    served = saved.serve({k: tf.constant(v) for k, v in x.items()})
    dataset = tf.data.Dataset.from_tensor_slices(x).batch(2)
    for other in (served, explainer.predict(dataset, verbose=0)):
        for key in x:
            np.testing.assert_allclose(other[key], predicted[key], **ULP)


SEVERAL = {
    "integrated_gradients": {"steps": 40, "baseline": {"aa": [0.5, 0.0], "zz": -0.5}},
    "expected_gradients": {"baselines": {"aa": np.ones((3, 2)), "zz": np.eye(3)[:, :2]}},
    "smoothgrad": {"samples": 4},
    "adaptgrad": {"samples": 4, "bounds": ({"zz": -9, "aa": -5}, {"aa": 5, "zz": 9})},
    "noisegrad": {"samples": 3, "epsilon": 0.1},
    "caso": {"lambda1": 1e-3},
    "guided_backprop": {},
    "excitation_backprop": {},
    "pattern_attribution": {},
}
"""Methods of any inputs, with what goes by the inputs' names."""


@pytest.mark.parametrize(
    "name",
    quick(
        SEVERAL,
        *("integrated_gradients", "expected_gradients", "adaptgrad", "caso"),
        "pattern_attribution",
    ),
)
def test_several_inputs_in_an_order_that_is_not_alphabetical(name):
    """By name in either order, by place, and each example alone; the smallest come first."""
    zz, aa = keras.Input((2,), name="zz"), keras.Input((2,), name="aa")
    hidden = keras.layers.Dense(6)(zz) + keras.layers.Dense(6)(aa)
    outputs = keras.layers.Dense(3)(keras.layers.ReLU()(hidden))
    model = keras.Model([zz, aa], outputs)
    random, scale = np.random.default_rng(0), np.array([[0.1], [0.5], [2.0]])
    a, z = (scale * random.normal(size=(3, 2)) for _ in range(2))
    options = dict(SEVERAL[name])
    if name == "pattern_attribution":
        data = {"aa": random.normal(size=(40, 2)), "zz": random.normal(size=(40, 2))}
        options["patterns"] = tfxai.fit_patterns(model, data, verbose=0)
    explainer = getattr(tfxai, name)(model, **options)
    expected = dict(zip(("zz", "aa"), explainer([z, a], [0, 1, 2]), strict=True))
    assert all(np.any(m) for m in expected.values())
    for given in ({"zz": z, "aa": a}, {"aa": a, "zz": z}):
        record = explainer.explain(given, [0, 1, 2], batch_size=2, verbose=0)
        assert list(record.attributions) == list(given)
        for key, maps in expected.items():
            np.testing.assert_allclose(record.attributions[key], maps, **ULP)
    for i in range(3):
        alone = explainer({"aa": a[i : i + 1], "zz": z[i : i + 1]}, i)
        for key, maps in expected.items():
            np.testing.assert_allclose(alone[key][0], maps[i], **ULP)


def test_a_tuple_of_inputs_gives_a_tuple(cnn, images):
    left, right = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    model = keras.Model((left, right), cnn(left) - cnn(right))
    maps = tfxai.gradient(model)((images, images), 0)
    assert isinstance(maps, tuple)
    np.testing.assert_allclose(maps[0], -maps[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "layer"),
    quick([((6,), keras.layers.Dense), ((7, 3), keras.layers.LSTM)], ((7, 3), keras.layers.LSTM)),
)
def test_rows_and_sequences(shape, layer):
    model = keras.Sequential([keras.Input(shape), layer(4), keras.layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(3, *shape))
    assert tfxai.smoothgrad(model)(x).shape == (3, *shape)
    record = tfxai.integrated_gradients(model).explain(x, 1, verbose=0)
    assert (record.diagnostics["completeness_gap"] < 0.02).all()


@pytest.mark.parametrize(
    "name",
    quick(
        [
            *("integrated_gradients", "expected_gradients", "adaptgrad", "noisegrad"),
            *("caso", "guided_grad_cam", "igos"),
        ],
        *("integrated_gradients", "noisegrad", "guided_grad_cam"),
    ),
)
def test_a_subclassed_model_takes_images_of_any_size(name, images):
    convolution = keras.layers.Conv2D(3, 3, activation="relu")
    dense = keras.layers.Dense(4, activation="softmax")
    model = Subclassed(convolution, lambda x: keras.ops.mean(x, (1, 2)), dense)
    explainer = BUILDERS[name](model)
    assert explainer(images).shape[:-1] == images.shape[:-1]
    if name != "expected_gradients":  # its references have one size
        assert explainer(np.ones((2, 9, 10, 3))).shape[:-1] == (2, 9, 10)


def test_memory_that_runs_out_halves_the_batch(images, monkeypatch):
    model, traces = counted_cnn()
    explainer = tfxai.integrated_gradients(model, steps=9)
    expected = explainer.explain(images, verbose=0).attributions
    traced_before = len(traces)
    cast = explainer._runner.cast(images)
    graph_before = explainer._runner.attribute(cast)
    attribute, sizes = explainer._runner.attribute, []

    def scarce(*arguments):
        run = attribute(*arguments)

        def limited(inputs, targets, seed):
            sizes.append(len(inputs))
            if len(inputs) > 2:
                raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
            return run(inputs, targets, seed)

        return limited

    monkeypatch.setattr(explainer._runner, "attribute", scarce)
    before = explainer._runner.rows(cast)
    np.testing.assert_allclose(explainer.explain(images, verbose=0).attributions, expected, **ULP)
    assert sizes == [5, 2, 2, 1]
    assert explainer._runner.rows(cast) == before // 2
    assert attribute(cast) is not graph_before  # but one for chunks that are half as large
    assert len(traces) == traced_before


@pytest.mark.parametrize(
    ("build", "examples"),
    [
        (lambda m: tfxai.integrated_gradients(m, steps=10, quadrature=right_riemann), 8),
        (lambda m: tfxai.smoothgrad(m, samples=10), 40),  # they share the draws of the noise
        (lambda m: tfxai.smoothgrad(m, samples=10, antithetic=True), 20),
    ],
)
def test_a_batch_has_the_examples_that_fill_one_chunk_or_two(
    monkeypatch, cnn, images, build, examples
):
    runner = build(cnn)._runner
    monkeypatch.setattr(runner, "rows", lambda inputs: 40)
    assert runner.examples_at_once(runner.cast(images)) == examples


@pytest.mark.parametrize(
    ("count", "antithetic", "expected"),
    [
        (1, False, [4, 4, 2]),
        (1, True, [4, 4, 2]),
        (4, False, [4] * 10),
        (5, False, [*[4] * 10, 4, 4, 2]),
        (5, True, [*[4] * 10, 4, 4, 2]),
    ],
)
def test_noisy_copies_come_in_full_chunks(monkeypatch, images, count, antithetic, expected):
    """The examples of a chunk have the same samples; a single example has several at once."""
    sizes = []

    class Counting(keras.layers.Layer):
        def call(self, x):
            size = tf.numpy_function(
                lambda n: sizes.append(int(n)) or n, [tf.shape(x)[0]], tf.int32
            )
            with tf.control_dependencies([size]):
                return tf.identity(x)

    layers = [Counting(), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    explainer = tfxai.smoothgrad(model, samples=10, antithetic=antithetic)
    monkeypatch.setattr(explainer._runner, "rows", lambda inputs: 4)
    explainer(images[:1], 1)
    sizes.clear()
    explainer(images[:count], 1)
    assert sizes == expected


def test_targets_may_be_one_many_names_or_predicted(cnn, images):
    cnn.class_names = ["cat, felis", "dog", "cow", "hen", "sea horse"]
    explainer = tfxai.gradient(cnn)
    predicted = cnn.predict(images, verbose=0).argmax(1)
    np.testing.assert_array_equal(explainer(images), explainer(images, predicted))
    np.testing.assert_array_equal(explainer(images, "dog"), explainer(images, 1))
    np.testing.assert_array_equal(explainer(images, ["felis"] * 5), explainer(images, [0] * 5))
    np.testing.assert_array_equal(explainer(images, "HORSE"), explainer(images, np.int64(4)))
    record = explainer.explain(images, "cow", verbose=0)
    assert record.target_names == ["cow"] * 5


def test_targets_may_be_an_input_of_a_functional_model(cnn, images):
    explainer = tfxai.integrated_gradients(cnn, steps=5)
    inputs, targets = keras.Input((8, 8, 3)), keras.Input((), dtype="int32")
    model = keras.Model([inputs, targets], explainer(inputs, targets, seed=3))
    chosen = np.array([4, 3, 2, 1, 0])
    np.testing.assert_array_equal(model([images, chosen]), explainer(images, chosen))
