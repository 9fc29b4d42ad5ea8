"""I-GOS and meaningful perturbation of all kinds of inputs, and of several, against slow loops."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.networks import Subclassed
from tests.thorough import quick

L = keras.layers
PRICES = {"lambda1": 0.03, "lambda2": 0.4}
STEPS = 4
GROUPS = np.array([5, 5, 0, 2, 0, 2])


@pytest.fixture(autouse=True)
def quiet():
    """Masks of random networks may hardly move, which a warning says."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*have hardly moved from 1")
        warnings.filterwarnings("ignore", message=".*is constant")
        warnings.filterwarnings("ignore", message=".*with a probability below")
        yield


def entry(shape, name="x"):
    """An input; float64 inputs of a layer in float64 would be rounded by one in float32."""
    return keras.Input(shape, name=name, dtype=keras.config.dtype_policy().compute_dtype)


def network(inputs, outputs=3):
    """A smooth network of probabilities, all of whose inputs matter together, in float64."""
    keras.utils.set_random_seed(6)
    flat = [L.Flatten()(x) if len(x.shape) > 2 else x for x in tf.nest.flatten(inputs)]
    x = flat[0] if len(flat) == 1 else L.Concatenate()(flat)
    x = L.Dense(9, "tanh", kernel_initializer="glorot_normal", bias_initializer="normal")(x)
    logits = L.Dense(outputs, kernel_initializer=keras.initializers.RandomNormal(0, 1.0))(x)
    return keras.Model(inputs, L.Softmax()(logits))


@pytest.fixture
def float64():
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


def ordered(shape, count=3):
    """Examples from strong to faint."""
    scale = np.linspace(1.6, 0.4, count).reshape(-1, *[1] * len(shape))
    return np.random.default_rng(4).normal(size=(count, *shape)) * scale


class SlowCells:
    """The cells of one input's mask, by loops: their grid, and what they become in the input."""

    def __init__(self, shape, cells, *, groups=None, per_channel=False):
        self.groups, self.size = groups, shape[:-1]
        if groups is not None:
            self.grid, self.count = (), len(np.unique(groups))
        elif len(shape) == 1:
            self.grid, self.count = (), shape[0]
        else:
            self.grid = tuple(cells)
            self.channels = shape[-1] if per_channel else 1
            self.count = int(np.prod(cells)) * self.channels

    def up(self, row):
        if self.groups is not None:
            return row[np.unique(self.groups, return_inverse=True)[1]]
        if not self.grid:
            return row
        mask = row.reshape(*self.grid, self.channels)
        for axis, (cells, size) in enumerate(zip(self.grid, self.size, strict=True)):
            at = np.arange(size) * (cells - 1) / (size - 1)
            mask = np.apply_along_axis(
                lambda m, at=at, n=cells: np.interp(at, range(n), m), axis, mask
            )
        return mask

    def price(self, row, power):
        mask = row.reshape(*self.grid, -1)
        steps = [np.diff(mask, axis=a) for a in range(len(self.grid)) if self.grid[a] > 1]
        variation = sum(np.mean(np.abs(s) ** power) for s in steps)
        return PRICES["lambda1"] * np.mean(np.abs(1 - row)) + PRICES["lambda2"] * variation


def slow_parts(row, cells):
    return np.split(row, np.cumsum([c.count for c in cells])[:-1])


def slow_score(model, example, target, row, cells, masked):
    """f_c of an example whose masked inputs show 0 where they are deleted."""
    shown = dict(example)
    for name, c, part in zip(masked, cells, slow_parts(row, cells), strict=True):
        shown[name] = example[name] * c.up(part)
    shown = {name: x[None] for name, x in shown.items()}
    return model(shown if len(shown) > 1 else next(iter(shown.values()))).numpy()[0, target]


def slow_gradient(function, row, step=1e-6):
    found = np.zeros_like(row)
    for i in range(len(row)):
        for sign in (1, -1):
            moved = row.copy()
            moved[i] += sign * step
            found[i] += sign * function(moved) / (2 * step)
    return found


def slow_igos(score, price, count, iterations, longest):
    """The algorithm of Qi et al. 2020 as published, for a row of cells."""
    mask, objective = np.ones(count), score(np.ones(count))

    def on_the_path(row):
        return np.mean([score(s / STEPS * row) for s in range(1, STEPS + 1)])

    for _ in range(iterations):
        gradient = slow_gradient(on_the_path, mask) + slow_gradient(price, mask)
        alpha = longest
        while alpha > 1e-5:
            new = np.clip(mask - alpha * gradient, 0, 1)
            value = score(new) + price(new)
            if value <= objective - alpha * 1e-4 * np.sum(gradient**2):
                break
            alpha *= 0.2
        mask, objective = new, value
    return mask, objective


KINDS = {
    "sequence": ((11, 2), {"resolution": 4}, {"cells": (4,)}),
    "each channel": (
        (9, 2),
        {"resolution": 3, "per_channel": True},
        {"cells": (3,), "per_channel": True},
    ),
    "volume": ((4, 5, 3, 2), {"resolution": (2, 3, 2)}, {"cells": (2, 3, 2)}),
    "image": ((5, 7, 2), {"resolution": (3, 2)}, {"cells": (3, 2)}),
    "table": ((6,), {}, {"cells": None}),
    "groups": ((6,), {"groups": GROUPS}, {"cells": None, "groups": GROUPS}),
}


@pytest.mark.parametrize("kind", quick(list(KINDS), "sequence", "volume", "groups"))
def test_the_published_algorithm_on_each_kind(kind, float64):
    shape, options, given = KINDS[kind]
    model, x = network(entry(shape)), ordered(shape, 2)
    explainer = tfxai.igos(
        model,
        steps=STEPS,
        iterations=3,
        noise=0.0,
        baseline=0.0,
        descent="gradient",
        longest_step=30.0,
        tolerance=None,
        **PRICES,
        **options,
    )
    record = explainer.explain(x, [2, 0], verbose=0)
    cells = SlowCells(shape, **given)
    for i, target in enumerate([2, 0]):
        row, objective = slow_igos(
            lambda r, i=i, t=target: slow_score(model, {"x": x[i]}, t, r, [cells], ["x"]),
            lambda r: cells.price(r, 2),
            cells.count,
            *(3, 30.0),
        )
        assert row.min() < 0.99
        np.testing.assert_allclose(record.attributions[i], 1 - cells.up(row), atol=1e-6)
        np.testing.assert_allclose(record.diagnostics["objective"][i], objective, atol=1e-7)
        own = 1 - record.attributions[i] if kind == "groups" else row.reshape(record.mask[i].shape)
        np.testing.assert_allclose(record.mask[i], own, atol=1e-6)


def slow_adam(score, price, count, iterations, rate):
    mask, first, second = np.ones(count), 0, 0
    for t in range(1, iterations + 1):
        gradient = slow_gradient(lambda row: score(row) + price(row), mask)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        step = first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        mask = np.clip(mask - rate * step, 0, 1)
    return mask


@pytest.mark.parametrize("kind", quick(list(KINDS), "each channel", "table"))
def test_meaningful_perturbation_of_each_kind(kind, float64):
    shape, options, given = KINDS[kind]
    model, x = network(entry(shape)), ordered(shape, 2)
    options = {**options, **PRICES, "noise": 0.0, "baseline": 0.0, "iterations": 4}
    explainer = tfxai.meaningful_perturbation(model, learning_rate=0.07, **options)
    maps = explainer(x, [2, 0])
    cells = SlowCells(shape, **given)
    for i, target in enumerate([2, 0]):
        row = slow_adam(
            lambda r, i=i, t=target: slow_score(model, {"x": x[i]}, t, r, [cells], ["x"]),
            lambda r: cells.price(r, 3),
            cells.count,
            *(4, 0.07),
        )
        np.testing.assert_allclose(maps[i], 1 - cells.up(row), atol=1e-5)


def two_inputs():
    """A sequence and a table, the second one first in the alphabet."""
    inputs = {"zz": entry((8, 2), "zz"), "aa": entry((4,), "aa")}
    return network(inputs), {"zz": ordered((8, 2)), "aa": ordered((4,))[::-1] * 2}


@pytest.mark.parametrize("masked", [["zz", "aa"], ["aa"]])
def test_several_inputs_are_masked_together(masked, float64):
    model, x = two_inputs()
    explainer = tfxai.igos(
        model,
        steps=STEPS,
        iterations=3,
        noise=0.0,
        baseline=dict.fromkeys(masked, 0.0) if len(masked) > 1 else 0.0,
        inputs=None if len(masked) > 1 else masked,
        resolution={"zz": 3} if len(masked) > 1 else None,
        descent="gradient",
        longest_step=30.0,
        tolerance=None,
        **PRICES,
    )
    record = explainer.explain(x, 1, verbose=0)
    names = sorted(masked)
    cells = [SlowCells((4,), None) if n == "aa" else SlowCells((8, 2), (3,)) for n in names]
    for i in range(3):
        example = {name: v[i] for name, v in x.items()}
        row, _ = slow_igos(
            lambda r, e=example: slow_score(model, e, 1, r, cells, names),
            lambda r: sum(c.price(p, 2) for c, p in zip(cells, slow_parts(r, cells), strict=True)),
            sum(c.count for c in cells),
            *(3, 30.0),
        )
        for name, c, part in zip(names, cells, slow_parts(row, cells), strict=True):
            maps = record.attributions[name] if len(names) > 1 else record.attributions
            np.testing.assert_allclose(maps[i], 1 - c.up(part), atol=1e-6)
    if len(names) > 1:
        assert record.mask["zz"].shape == (3, 3, 1)
        assert record.diagnostics["lambda1"].shape == (3, 2)


def test_a_sequence_is_an_image_of_one_row(float64):
    shape = (12, 2)
    sequences = network(entry(shape))
    images = keras.Sequential([entry((1, *shape)), L.Reshape(shape), sequences])
    x = ordered(shape)
    for build in (tfxai.igos, tfxai.meaningful_perturbation):
        options = {"iterations": 5, "baseline": "mean", **PRICES}
        one = build(sequences, resolution=5, **options)(x, 1, seed=3)
        other = build(images, resolution=(1, 5), **options)(x[:, None], 1, seed=3)
        np.testing.assert_allclose(one, other[:, 0], atol=1e-6)


@pytest.mark.parametrize("build", [tfxai.igos, tfxai.meaningful_perturbation])
def test_examples_alone_are_those_of_the_batch_and_are_kept(build, tmp_path):
    model, x = two_inputs()
    options = {"steps": 3} if build is tfxai.igos else {}
    explainer = build(model, iterations=3, lambda1=1e-3, baseline=0.1, **options)
    record = explainer.explain(x, [2, 1, 0], verbose=0, batch_size=2)
    for i in range(3):
        alone = explainer.explain({n: v[i : i + 1] for n, v in x.items()}, 2 - i, verbose=0)
        for name in x:
            together = record.attributions[name][i]
            np.testing.assert_allclose(alone.attributions[name][0], together, atol=1e-4)
    loaded = tfxai.Explanation.load(record.save(tmp_path / "record.npz"))
    for name in x:
        np.testing.assert_array_equal(loaded.mask[name], record.mask[name])
    assert record.attributions["zz"].max() > 0


def test_images_of_open_size_and_a_subclassed_model():
    keras.utils.set_random_seed(0)
    layers = [L.Conv2D(3, 3, activation="relu"), L.GlobalAveragePooling2D(), L.Dense(3)]
    photos = keras.Sequential([keras.Input((None, None, 2)), *layers])
    closed = keras.Sequential([keras.Input((9, 12, 2)), *layers])
    explainer = tfxai.igos(photos, iterations=2, resolution=4, steps=3, lambda1=1e-3)
    for size in ((9, 12), (7, 7)):
        x = ordered((*size, 2)).astype("float32")
        maps = explainer(x, 1, seed=1)
        assert maps.shape == (3, *size, 1)
        if size == (9, 12):
            options = {"iterations": 2, "resolution": 4, "steps": 3, "lambda1": 1e-3}
            np.testing.assert_allclose(maps, tfxai.igos(closed, **options)(x, 1, seed=1), atol=1e-6)
    own = Subclassed(L.Conv1D(3, 3, activation="relu"), L.GlobalAveragePooling1D(), L.Dense(3))
    assert tfxai.igos(own, iterations=1, steps=2)(ordered((8, 2)), 1).shape == (3, 8, 1)


def bump_network():
    """A sigmoid that reacts to the pattern (1, -1, 1) anywhere in a sequence."""
    model = keras.Sequential([keras.Input((40, 1)), L.Conv1D(1, 3, activation="relu")])
    model.add(L.GlobalMaxPooling1D())
    model.add(L.Dense(1, "sigmoid"))
    kernel = np.array([1.0, -1, 1]).reshape(3, 1, 1)
    model.set_weights([kernel, np.zeros(1), np.array([[4.0]]), np.array([-6.0])])
    return model


@pytest.mark.parametrize("build", [tfxai.igos, tfxai.meaningful_perturbation])
def test_the_mask_deletes_what_the_network_reacts_to(build):
    x = np.random.default_rng(0).normal(size=(4, 40, 1)) * 0.1
    starts = [31, 20, 9, 2]  # late ones first
    for i, start in enumerate(starts):
        x[i, start : start + 3, 0] += (1, -1, 1)
    options = {"resolution": 40, "baseline": 0.0, "lambda1": 0.1, "lambda2": 0.01, "noise": 0.0}
    maps = build(bump_network(), iterations=60, **options)(x, 1).numpy()[..., 0]
    for i, start in enumerate(starts):
        assert start <= maps[i].argmax() < start + 3
        assert maps[i, start : start + 3].sum() > 0.6 * maps[i].sum() > 0.3


@pytest.mark.parametrize("build", [tfxai.igos, tfxai.meaningful_perturbation])
@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (
            (6,),
            {"resolution": 3, "baseline": 0},
            "resolution=3: the cells of a mask are the groups",
        ),
        ((6,), {}, "baseline='blur' needs images.*pass numbers"),
        ((11, 2), {"resolution": 12}, r"resolution=\(12,\): the inputs have \(11,\) positions"),
        ((11, 2), {"resolution": (3, 3)}, r"resolution=\(3, 3\): expected a number, or one for"),
        ((11, 2), {"groups": [0, 1]}, r"groups has shape \[2\]: expected \[11\]"),
        ((11, 2), {"inputs": "other"}, "inputs='other': the model has no such input"),
    ],
)
def test_bad_options_of_inputs(build, shape, options, message):
    with pytest.raises(ValueError, match=message):
        build(network(entry(shape)), iterations=1, **options)(ordered(shape), 1)


def test_a_price_of_another_input_is_refused():
    model, x = two_inputs()
    for option in ("lambda1", "resolution"):
        with pytest.raises(TypeError, match=f"{option}: 'typo' is no input that it is for"):
            tfxai.igos(model, baseline=0.0, iterations=1, **{option: {"typo": 1}})(x, 1)


@pytest.mark.parametrize("build", [tfxai.igos, tfxai.meaningful_perturbation])
def test_an_input_without_slope_is_refused_and_may_stay(build):
    """Beside an image the masks of token ids would silently never move."""
    ids, photo = keras.Input((5,), dtype="int32", name="ids"), keras.Input((6, 6, 1), name="photo")
    flat = [L.Flatten()(L.Embedding(9, 3)(ids)), L.Flatten()(photo)]
    model = keras.Model([ids, photo], L.Dense(3)(L.Concatenate()(flat)))
    x = [np.arange(15).reshape(3, 5) % 9, ordered((6, 6, 1))]
    with pytest.raises(ValueError, match=r"no gradient with respect to input 0, \(None, 5\)"):
        build(model, iterations=1, baseline=0.0)(x, 1)
    assert build(model, iterations=1, inputs="photo")(x, 1).shape == (3, 6, 6, 1)


def test_each_input_has_its_own_baseline_by_name():
    model, x = two_inputs()
    options = {"iterations": 2, "steps": 3, "lambda1": 1e-3}
    named = tfxai.igos(model, baseline={"zz": "mean", "aa": 0.2}, **options)(x, 1, seed=1)

    def own(inputs):
        means = tf.reduce_mean(inputs["zz"], 1, keepdims=True)
        return {"zz": means + 0 * inputs["zz"], "aa": 0 * inputs["aa"] + 0.2}

    computed = tfxai.igos(model, baseline=own, **options)(x, 1, seed=1)
    for name in x:
        np.testing.assert_allclose(named[name], computed[name], atol=1e-5)
    with pytest.raises(ValueError, match=r"baseline='blur' needs .*a dict, such as"):
        tfxai.igos(model, **options)(x, 1)
    one = tfxai.integrated_gradients(model, baseline={"zz": "mean", "aa": 0.2})(x, 1)
    other = tfxai.integrated_gradients(model, baseline=own)(x, 1)
    np.testing.assert_allclose(one["zz"], other["zz"], atol=1e-5)
