"""Maps that say nothing, or not yet, are told of: by records, benchmarks, figures."""

import json
import warnings
from functools import partial

import keras
import numpy as np
import pytest

import tfxai
from tests.networks import as_model, small_cnn
from tests.thorough import quick
from tfxai import benchmark, metrics
from tfxai.core.map_checks import is_constant, path_warnings

L = keras.layers


@pytest.fixture
def images():
    """Four that differ, the darkest first."""
    random = np.random.default_rng(0).random((4, 8, 8, 3)).astype("float32")
    return random * np.linspace(0.3, 1, 4, dtype="float32")[:, None, None, None]


@pytest.mark.parametrize(
    ("maps", "constant"),
    [
        ([[0.0, 0.0], [2.0, 2.0], [1.0, 2.0]], [True, True, False]),
        ([[1.0, 1.0 + 1e-8], [1e-30, 2e-30], [-3.0, 3.0]], [True, False, False]),
        ([[np.nan, 0.0], [np.inf, np.inf], [0.0, 1e-20]], [False, False, False]),
        ([[0.0], [5.0]], [True, False]),
        ({"zz": [[1.0], [1.0]], "aa": [[1.0], [2.0]]}, [True, False]),
    ],
)
def test_constant_maps(maps, constant):
    given = keras.tree.map_structure(lambda m: m, maps)
    arrays = (
        {k: np.array(v) for k, v in given.items()} if isinstance(maps, dict) else np.array(maps)
    )
    assert is_constant(arrays).tolist() == constant


def against():
    """A CNN for which all that its last convolution sees speaks against class 0 and for 1."""
    model = small_cnn()
    kernel, bias = model.layers[-1].get_weights()
    dense = model.layers[-2].get_weights()
    model.layers[-2].set_weights([np.abs(dense[0]), dense[1]])
    kernel[:, 0], kernel[:, 1] = -np.abs(kernel[:, 0]), np.abs(kernel[:, 1])
    model.layers[-1].set_weights([kernel, bias])
    return model


def test_grad_cam_whose_relu_removes_everything(images):
    explainer = tfxai.grad_cam(against())
    with pytest.warns(
        UserWarning,
        match=r"grad_cam: the maps of 4 of 4 examples \(0, 1, 2, 3\) "
        "are zero everywhere.*ReLU.*layer=",
    ):
        record = explainer.explain(images, 0, batch_size=3, verbose=0)
    assert not record.attributions.any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explainer.explain(images, 1, verbose=0)


def test_patterns_of_a_class_that_was_never_predicted(images):
    """Its output neuron was never active: its pattern is zero, and so are all maps."""
    model = small_cnn(head=None)
    kernel, bias = model.layers[-1].get_weights()
    bias[2] = -100.0
    model.layers[-1].set_weights([kernel, bias])
    patterns = tfxai.fit_patterns(model, images, verbose=0)
    for build in (tfxai.pattern_attribution, tfxai.pattern_guided_integrated_gradients):
        with pytest.warns(UserWarning, match="4 of 4 .*zero everywhere.*examples of every class"):
            build(model, patterns).explain(images, 2, verbose=0)


@pytest.mark.parametrize("epsilon", [1e-12, 1e-3])
def test_a_network_that_does_not_see_the_input_s_scale(epsilon, images):
    """Integrated gradients from zero: all of the change lies in a jump at the start."""
    inputs = keras.Input((8, 8, 3))
    normalised = L.LayerNormalization((1, 2, 3), epsilon=epsilon, center=False, scale=False)(inputs)
    model = keras.Model(
        inputs, L.Dense(3)(L.Flatten()(L.Conv2D(4, 3, activation="relu")(normalised)))
    )
    explainer = tfxai.integrated_gradients(model, steps=64)
    if epsilon < 1e-6:
        with pytest.warns(UserWarning, match="far from complete.*another baseline"):
            record = explainer.explain(images, 1, verbose=0)
        assert (record.diagnostics["completeness_gap"] > 0.5).all()
    moved = tfxai.integrated_gradients(
        model, steps=128, baseline=np.full((8, 8, 3), 0.5) * images[0]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moved.explain(images[1:], 1, verbose=0)


def test_integrated_gradients_with_too_few_steps():
    waves = as_model(lambda x: keras.ops.sum(keras.ops.sin(20 * x), -1, keepdims=True), 3)
    few = tfxai.integrated_gradients(waves, steps=5)
    with pytest.warns(UserWarning, match="not converged after 5 steps.*raise steps"):
        few.explain(np.array([[0.9, 0.2, 0.5], [0.1, 1.0, 0.3]]), 1, verbose=0)


def test_a_gap_that_is_large_by_chance_is_none():
    """The score hardly changes, and the map is exact but for rounding."""
    record = {"map_error": np.array([1e-3]), "steps": np.array([64])}
    maps = np.array([[5.0, -4.9999]])  # of a change of .0004: the gap is .75
    told = partial(path_warnings, tolerance=None, complete=True)
    assert told(maps, record | {"completeness_gap": np.array([0.75])}) == []
    unsure = {"map_error": np.array([0.2]), "steps": np.array([64])}
    assert told(maps, unsure | {"completeness_gap": np.array([0.75])})
    for gap, maps in ((1.0, [[3.0, -3.0]]), (0.9, [[3.0, -2.0]]), (np.inf, [[3.0, -2.0]])):
        assert told(np.array(maps), record | {"completeness_gap": np.array([gap])})


@pytest.mark.parametrize(
    "name",
    quick(
        ["integrated_gradients", "caso", "igos", "rise", "occlusion"],
        *("integrated_gradients", "igos", "rise"),
    ),
)
def test_a_network_in_float64_takes_inputs_declared_as_float32(name):
    """Keras declares float32 inputs unless told."""
    layers = [
        L.Conv2D(3, 3, activation="relu", dtype="float64"),
        L.Flatten(dtype="float64"),
        L.Dense(3, activation="softmax", dtype="float64"),
    ]
    model = keras.Sequential([keras.Input((8, 8, 1), dtype="float32"), *layers])
    options = {"igos": {"iterations": 2, "steps": 2}, "rise": {"masks": 20}}.get(name, {})
    x = np.random.default_rng(0).random((2, 8, 8, 1))
    maps = getattr(tfxai, name)(model, **options)(x, 0)
    assert maps.dtype == "float64"
    assert np.isfinite(maps).all()


FLAT = {"cam": partial(tfxai.grad_cam, score=lambda outputs, targets: 0.0 * outputs[:, 0])}


def test_a_benchmark_scores_nothing_of_them(images, tmp_path):
    methods = FLAT | {"gradient": tfxai.gradient}
    chosen = ["deletion", "degradation", "gini", "completeness", "max_sensitivity"]
    with pytest.warns(UserWarning, match="cam: 4 of 4 maps are the same everywhere.*ReLU"):
        results = benchmark.run(
            small_cnn(), images, methods, chosen, tmp_path, batch_size=3, verbose=0
        )
    assert results.constant == {"cam": 4}
    for metric in chosen:
        assert np.isnan(results.values(metric)["cam"]).all()
        assert np.isfinite(results.values(metric)["gradient"]).all()
    assert {c.method for c in results.cells} == {"gradient"}
    assert {c.images for c in results.cells} == {4}
    report = (tmp_path / "report.html").read_text()
    assert "cam: 4 of 4 maps are the same everywhere" in report
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    counts = [json.loads(line).get("constant") for line in lines]
    assert counts.count(3) == counts.count(1) == 1


@pytest.mark.parametrize("name", ["deletion", "insertion", "degradation"])
def test_metrics_of_an_order_have_none_of_them(name, images):
    maps = np.stack([np.zeros((8, 8)), images[1].sum(-1), np.ones((8, 8)), images[3].sum(-1)])
    curve = getattr(metrics, name)(small_cnn(), images, maps[..., None], 0)
    np.testing.assert_array_equal(np.isnan(curve.auc), [True, False, True, False])
    axes = tfxai.plot.curve(curve)
    assert np.isfinite(axes.lines[-1].get_ydata()).all()


def test_figures_say_so(images):
    maps = [np.zeros((8, 8, 3)), np.ones((8, 8, 3)), images[2], images[3]]
    figure = tfxai.plot.panel(list(images), {"map": maps})
    said = [t.get_text() for axes in figure.axes for t in axes.texts]
    assert said == ["zero everywhere", "the same everywhere"]
