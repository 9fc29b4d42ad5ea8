"""Metrics, the benchmark and figures of channels-first images are those of channels-last ones."""

import keras
import numpy as np
import pytest

import tfxai
from tests.networks import channels_first_twin, channels_moved
from tfxai import benchmark, metrics, plot
from tfxai.callbacks import ExplanationCallback
from tfxai.explaining.explanation import Explanation

L = keras.layers
SIZE = (20, 18)


@pytest.fixture(scope="module")
def last():
    keras.utils.set_random_seed(0)
    layers = [L.Conv2D(4, 3, activation="relu"), L.Conv2D(4, 3, activation="relu"), L.Flatten()]
    return keras.Sequential([keras.Input((*SIZE, 3)), *layers, L.Dense(3, "softmax")])


@pytest.fixture(scope="module")
def first(last):
    return channels_first_twin(last)


@pytest.fixture(scope="module")
def images():
    rows = np.random.default_rng(0).random((2, *SIZE, 3)).astype("float32")
    return rows * [[[[0.5, 1.0, 0.3]]]]


@pytest.fixture(scope="module")
def maps(images):
    return np.random.default_rng(1).normal(size=images.shape)


METRICS = {
    "deletion": lambda *a, **k: metrics.deletion(*a, 1, substrate="blur", step=9, **k).scores,
    "insertion": lambda *a, **k: metrics.insertion(*a, 1, substrate="mean", step=9, **k).scores,
    "degradation": lambda *a, **k: metrics.degradation(*a, 1, patch=4, **k).scores,
    "infidelity": lambda *a, **k: (
        metrics.infidelity(*a, 1, slopes=True, baseline="blur", samples=20, **k).change
    ),
    "information": lambda *a, **k: (
        metrics.information_level(*a, [0, 2], bounds=(0, 1), least=0.0, share=0.1, **k).scores
    ),
}


@pytest.mark.parametrize("name", METRICS)
def test_metrics_are_those_of_the_channels_last_model(name, first, last, images, maps):
    of = METRICS[name]
    heatmaps = maps.sum(-1, keepdims=True)
    expected = of(last, images, heatmaps)
    x, moved = channels_moved(images), channels_moved(heatmaps)
    np.testing.assert_allclose(of(first, x, moved), expected, rtol=1e-4, atol=1e-5)

    if name == "infidelity":
        return  # its score is of logits, which a function does not give

    def function(x):
        return first.predict_on_batch(np.ascontiguousarray(x))

    found = of(function, x, moved, data_format="channels_first")
    np.testing.assert_allclose(found, of(last.predict_on_batch, images, heatmaps), rtol=1e-4)
    with pytest.raises(ValueError, match=r"look channels-first.*data_format='channels_first'"):
        of(function, x, moved)


def test_completeness_knows_the_order_of_a_named_baseline(first, last, images, maps):
    expected = metrics.completeness(last, images, maps, 1, baseline="blur")
    found = metrics.completeness(first, channels_moved(images), channels_moved(maps), 1,
                                 baseline="blur")  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("metric", [metrics.pointing_game, metrics.top_k_share, metrics.mass_share])
def test_localisation_refuses_maps_that_look_channels_moved(metric, maps):
    boxes = [[0, 0, 5, 6], [3, 2, 9, 9]]
    assert metric(maps, boxes).shape == (2,)
    with pytest.raises(ValueError, match=r"attributions of shape .* np.moveaxis\(x, 1, -1\)"):
        metric(channels_moved(maps), boxes)


@pytest.mark.parametrize(
    "use",
    [
        lambda x: tfxai.baselines.rise_blur(x),
        lambda x: plot.draw_map(x[0]),
        lambda x: plot.overlay(np.moveaxis(x[0], 0, -1), x[0]),
        lambda x: benchmark.Compositions(np.concatenate([x, x]), [0, 1, 2, 3]),
        lambda x: tfxai.baselines.baseline("mean")(x),
    ],
)
def test_arrays_that_look_channels_first_are_refused_where_no_model_tells(use, images):
    with pytest.raises(ValueError, match=r"3, 20, 18\] look channels-first"):
        use(channels_moved(images))


def test_the_benchmark_of_a_channels_first_model_is_that_of_its_twin(first, last, images, tmp_path):
    methods = {"gradient": tfxai.gradient, "cam": tfxai.grad_cam}
    chosen = ["deletion", "degradation", "infidelity", "pointing_game", "invariance"]
    regions = np.zeros((2, *SIZE), bool)
    regions[:, 3:9, 2:14] = True
    found = {}
    for name, model, x in (("last", last, images), ("first", first, channels_moved(images))):
        options = {"verbose": 0, "regions": regions}
        found[name] = benchmark.run(model, x, methods, chosen, tmp_path / name, **options)
    assert not found["first"].failed
    for metric in chosen:
        for method in methods:
            one, other = (found[name].values(metric)[method] for name in ("first", "last"))
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    assert np.load(tmp_path / "first" / "maps" / "000000.images.npy").shape == (2, *SIZE, 3)


def drawn(figure):
    """The arrays that a figure shows."""
    return [image.get_array() for axes in figure.axes for image in axes.get_images()]


def test_figures_show_rows_and_columns(first, last, images, tmp_path):
    x = channels_moved(images)
    record = tfxai.occlusion(first, patch=5).explain(x, 1, verbose=0)
    expected = drawn(tfxai.occlusion(last, patch=5).explain(images, 1, verbose=0).plot())
    loaded = Explanation.load(record.save(tmp_path / "maps.npz"))
    assert loaded.channels == -3
    for figure in (record.plot(), loaded.plot(images=x)):
        for one, other in zip(drawn(figure), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_several_inputs_have_an_order_each(images, tmp_path):
    image, row = keras.Input((3, *SIZE), name="zz"), keras.Input((5,), name="aa")
    x = L.Flatten()(L.Conv2D(2, 3)(L.Permute((2, 3, 1))(image)))
    model = keras.Model({"zz": image, "aa": row}, L.Dense(2)(L.Concatenate()([x, row])))
    given = {"zz": channels_moved(images), "aa": np.ones((2, 5))}
    record = tfxai.gradient(model).explain(given, 1, verbose=0)
    assert record.channels == {"zz": -3, "aa": -1}
    loaded = Explanation.load(record.save(tmp_path / "maps.npz"))
    for figure in (record.plot(), loaded.plot()):
        assert [values.shape for values in drawn(figure)] == [SIZE, SIZE]


def test_a_callback_draws_channels_first_images(first, images, tmp_path):
    explainers = {"gradient": tfxai.gradient(first)}
    drawn = ExplanationCallback(explainers, channels_moved(images), directory=tmp_path)
    drawn.set_model(first)
    drawn.on_epoch_end(0, {})
    assert (tmp_path / "epoch_0001.png").exists()


def test_a_mean_over_nothing_is_refused_or_missing():
    nothing = np.zeros((0, 4))
    for of in (
        lambda: metrics.rank_correlation(nothing, nothing),
        lambda: metrics.rank_correlation(nothing.T, nothing.T),
        lambda: metrics.gini(nothing),
        lambda: metrics.max_sensitivity(lambda x, t: x, nothing, 0, radius=0.1),
        lambda: metrics.invariance(lambda x, t: x, lambda x, t: x, nothing, 0),
    ):
        with pytest.raises(ValueError, match=r"empty|expected"):
            of()
    assert np.isnan(benchmark.statistics.interval(np.zeros(0))).all()


def test_images_without_a_curve_are_left_out_of_its_mean():
    x = np.linspace(0, 1, 3)
    rows = np.array([[0.0, 0.5, 1.0], [np.nan] * 3])
    axes = plot.curve(metrics.Curve(x, rows, np.array([0.5, np.nan]), "information"))
    assert axes.get_legend_handles_labels()[1] == ["information 0.500"]
    np.testing.assert_array_equal(axes.get_lines()[-1].get_ydata(), rows[0])
    for scores in (rows[1:], rows[:0]):
        with pytest.raises(ValueError, match=r"none of . images has a curve"):
            plot.curve(metrics.Curve(x, scores, scores.mean(1), "information"))
