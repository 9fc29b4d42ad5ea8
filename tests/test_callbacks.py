"""Callbacks: what they draw and log, and that training is the same with and without them."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfxai
from tests.networks import digits, small_cnn
from tests.thorough import quick
from tfxai import benchmark, metrics, quadrature, scores
from tfxai.callbacks import ExplanationCallback, MetricCallback

L = keras.layers
ROOT = Path(__file__).parents[1]


def model_of(policy="float32", jit=False):
    """A network with all that training may draw or move: dropout, noise, batch statistics."""
    keras.utils.set_random_seed(4)
    layers = [
        L.Conv2D(4, 3, activation="relu", dtype=policy),
        L.BatchNormalization(dtype=policy),
        L.GaussianNoise(0.1, dtype=policy),
        L.Flatten(dtype=policy),
        L.Dropout(0.3, dtype=policy),
        L.Dense(10, "softmax", dtype=policy),
    ]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", jit_compile=jit)
    return model


def fit(model, callbacks, epochs=3):
    data, labels = digits()
    options = {"epochs": epochs, "verbose": 0, "batch_size": 100}
    return model.fit(data[:400], labels[:400], callbacks=callbacks, **options)


@pytest.fixture
def images():
    return digits()[0][400:403]


@pytest.mark.parametrize(
    ("policy", "jit"),
    quick([("mixed_float16", False), ("float32", True)], ("mixed_float16", False)),
)
def test_training_is_the_same_with_and_without(policy, jit, images, tmp_path):
    """Weights, optimizer state and random numbers."""
    plain = model_of(policy, jit)
    alone = fit(plain, []).history["loss"]
    drawn_next = tf.random.uniform([2])
    watched = model_of(policy, jit)
    explainers = {"noisy": tfxai.noisegrad(watched, samples=2)}
    some = ["deletion", "gini", "previous", "consistency"]
    if policy == "float32":
        explainers["smooth"] = tfxai.smoothgrad(watched, samples=3)
        explainers["igos"] = tfxai.igos(watched, resolution=4, iterations=2, steps=3)
        some.append("invariance")
    callbacks = [
        ExplanationCallback(explainers, images, directory=tmp_path, signs="absolute"),
        MetricCallback(explainers, images, some),
    ]
    history = fit(watched, callbacks).history
    assert history["loss"] == alone
    for a, b in zip(plain.weights, watched.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(plain.optimizer.variables, watched.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    for title in explainers:
        assert np.isfinite(history[f"{title}_deletion"]).all()
    assert all(s > 0 for s in history["explanation_seconds"])
    np.testing.assert_array_equal(tf.random.uniform([2]), drawn_next)


def test_metrics_are_those_of_the_library(images):
    model = model_of()
    ig = tfxai.integrated_gradients(model, steps=9)
    history = fit(model, [MetricCallback({"ig": ig}, images, ["deletion", "gini"])]).history
    record = ig.explain(images, verbose=0)
    maps = record.attributions.sum(-1)
    options = {"substrate": "blur", "score": scores.probability}
    curve = metrics.deletion(model, images, maps, record.targets, **options)
    assert history["ig_gini"][-1] == pytest.approx(metrics.gini(maps).mean(), rel=1e-4)
    assert history["ig_deletion"][-1] == pytest.approx(curve.auc.mean(), rel=1e-3)


def test_loggers_and_early_stopping_see_the_metrics(images, tmp_path):
    model = model_of()
    measured = MetricCallback(
        {"g": tfxai.gradient(model)}, images, ["gini", "previous"], every=2, targets=3
    )
    stop = keras.callbacks.EarlyStopping(monitor="g_gini", patience=1, mode="max", baseline=1.0)
    history = fit(model, [measured, keras.callbacks.CSVLogger(tmp_path / "log.csv"), stop], 6)
    assert len(history.epoch) < 6
    text = (tmp_path / "log.csv").read_text().splitlines()
    assert "g_gini" in text[0]
    assert len(text) == 1 + len(history.epoch)


def test_values_are_repeated_between_measurements(images):
    model = model_of()
    measured = MetricCallback({"g": tfxai.gradient(model)}, images, ["gini", "previous"], every=2)
    history = fit(model, [measured], 4).history
    first, second, third, fourth = history["g_gini"]
    assert first == second != third == fourth
    before, _, after, _ = history["g_previous"]
    assert -1 <= before < 1
    assert -1 <= after < 1
    assert before != after


def test_monitors_see_no_nan_of_maps_that_say_nothing(images, tmp_path):
    model = model_of()
    nothing = lambda outputs, targets: 0.0 * outputs[:, 0]  # noqa: E731
    explainers = {"dead": tfxai.grad_cam(model, score=nothing), "g": tfxai.gradient(model)}
    measured = MetricCallback(explainers, images, ["deletion", "gini", "previous"])
    stopping = keras.callbacks.EarlyStopping("g_previous", patience=5, mode="max")
    logger = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    with pytest.warns(
        UserWarning, match=f"dead: the maps of {len(images)} of {len(images)} .*zero"
    ):
        history = fit(model, [measured, stopping, logger], 3).history
    assert {k for k in history if k.startswith(("dead", "g"))} == {
        "g_deletion",
        "g_gini",
        "g_previous",
    }
    assert len(history["g_gini"]) == 3
    assert np.isfinite(np.concatenate(list(history.values()))).all()


def test_images_by_name_are_refused(images, tmp_path):
    explainers = {"g": tfxai.gradient(model_of())}
    with pytest.raises(TypeError, match=r"images: expected one array, got a dict .*'zz', 'aa'"):
        ExplanationCallback(explainers, {"zz": images, "aa": images}, directory=tmp_path)
    with pytest.raises(TypeError, match=r"images: expected one array, got a dict .*'zz', 'aa'"):
        MetricCallback(explainers, {"zz": images, "aa": images})


def test_pictures_and_the_animation(images, tmp_path):
    model = model_of()
    explainers = {"gradient": tfxai.gradient(model), "CAM": tfxai.grad_cam(model)}
    options = {"directory": tmp_path / "maps", "every": 2, "tensorboard": tmp_path / "logs"}
    callback = ExplanationCallback(explainers, images, signs=["signed", "absolute"], **options)
    history = fit(model, [callback], 3).history
    written = sorted(p.name for p in (tmp_path / "maps").iterdir())
    assert written == ["epoch_0001.png", "epoch_0003.png", "training.gif"]
    with Image.open(tmp_path / "maps" / "training.gif") as animation:
        assert animation.n_frames == 2
    seconds = history["explanation_seconds"]
    assert seconds[1] == 0 < seconds[0]
    events = list((tmp_path / "logs").glob("events*"))
    assert len(events) == 1
    found = [
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(events[0]))
        for value in event.summary.value
    ]
    assert found == ["explanations", "explanations"]


def test_bad_input(images, tmp_path, monkeypatch):
    model = model_of()
    explainers = {"g": tfxai.gradient(model)}
    with pytest.raises(ValueError, match="give one, or both"):
        ExplanationCallback(explainers, images)
    with pytest.raises(TypeError, match="at least one"):
        MetricCallback({}, images)
    with pytest.raises(TypeError, match=r"explainers\['g'\]: expected an Explainer"):
        MetricCallback({"g": tfxai.gradient}, images)
    with pytest.raises(ValueError, match="every=0"):
        MetricCallback(explainers, images, every=0)
    with pytest.raises(ValueError, match="'delition' is none"):
        MetricCallback(explainers, images, ["delition"])
    with pytest.raises(ValueError, match="metrics: none given"):
        MetricCallback(explainers, images, [])
    with pytest.raises(ValueError, match="explains another model"):
        fit(model_of(), [MetricCallback(explainers, images)])
    with pytest.raises(ValueError, match="pointing_game needs images whose"):
        fit(model, [MetricCallback(explainers, images, ["pointing_game"])])
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        ExplanationCallback(explainers, images, directory=tmp_path / "file")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="tensorboard= needs the package"):
        ExplanationCallback(explainers, images, tensorboard=tmp_path)


def test_measures_with_options(images):
    model = model_of()
    chosen = {"soft": benchmark.deletion(substrate="mean", cells=4)}
    history = fit(model, [MetricCallback({"g": tfxai.gradient(model)}, images, chosen)], 1).history
    assert set(history) == {"loss", "g_soft", "explanation_seconds"}


def test_an_explainer_on_another_model(images):
    """With all that it builds upon, and patterns."""
    one, other = small_cnn(), small_cnn()
    other.set_weights([w + 0.01 for w in other.get_weights()])
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")

    def build(model):
        ig = tfxai.integrated_gradients(model, steps=4, quadrature=quadrature.midpoint)
        return tfxai.smoothgrad(ig, samples=3, noise_level=0.1)

    np.testing.assert_array_equal(build(one).on(other)(x, 1), build(other)(x, 1))
    assert build(one).on(other).model is other
