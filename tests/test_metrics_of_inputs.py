"""Metrics of sequences, tables, volumes, groups and several inputs, against slow loops."""

import keras
import numpy as np
import pytest

import tfxai
from tests.networks import channels_moved
from tfxai import metrics, scores
from tfxai.core.interpolation import align_corners
from tfxai.core.layout import layout_of
from tfxai.metrics.random_parts import random_parts

L = keras.layers
SHAPES = {"sequence": (7, 3), "volume": (4, 3, 5, 2), "table": (6,), "image": (5, 6, 2)}
BOTH = [metrics.deletion, metrics.insertion]
TARGETS = np.array([2, 0, 1])


def ordered(shape, count=3):
    """Examples from faint to strong."""
    scale = np.linspace(0.3, 1.5, count).reshape(-1, *[1] * len(shape))
    return np.random.default_rng(4).normal(size=(count, *shape)) * scale


def maps_of(shape, count=3):
    return np.random.default_rng(9).normal(size=(count, *shape))


def smooth(shape):
    """A smooth function of three classes, all of whose inputs matter together."""
    size = int(np.prod(shape))
    first, second = np.random.default_rng(1).normal(size=(2, size, 5))
    last = np.random.default_rng(2).normal(size=(5, 3))

    def model(x):
        rows = np.asarray(x).reshape(len(x), size)
        return (np.tanh(rows @ first) * np.cos(rows @ second)) @ last

    return model


def one_channel(shape):
    return shape if len(shape) == 1 else (*shape[:-1], 1)


def slow_curve(model, x, units, target, substrate, step, *, insertion):
    """Scores while units, boolean arrays of the example's shape, go or come in their order."""
    count = len(units)
    values = []
    for number in [*range(0, count, step), count]:
        taken = np.any([*units[:number], np.zeros(x.shape, bool)], 0)
        shown = taken if insertion else ~taken
        values.append(model(np.where(shown, x, substrate)[None])[0, target])
    return values


def element(index, shape):
    mask = np.zeros(shape, bool)
    mask[index] = True
    return mask


@pytest.mark.parametrize("metric", BOTH)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("kind", SHAPES)
def test_positions_go_and_come_as_in_the_loop(kind, per_channel, metric):
    shape = SHAPES[kind]
    model, x, substrate = smooth(shape), ordered(shape), np.linspace(-1, 1, shape[-1])
    size = shape if per_channel else one_channel(shape)
    maps = maps_of(size)
    found = metric(
        model, x, maps, TARGETS, substrate=substrate, step=4, batch_size=5, per_channel=per_channel
    )
    for i, target in enumerate(TARGETS):
        order = [np.unravel_index(k, size) for k in np.argsort(-maps[i].ravel())]
        units = [np.broadcast_to(element(place, size), shape) for place in order]
        expected = slow_curve(model, x[i], units, target, substrate, 4,
                              insertion=metric is metrics.insertion)  # fmt: skip
        np.testing.assert_allclose(found.scores[i], expected, rtol=1e-9, atol=1e-12)
    assert found.plot().lines


GROUPS = [
    ("table", [7, 7, 0, 3, 3, 9]),
    ("sequence", np.arange(7)[::-1] // 3),
    ("sequence", np.arange(21).reshape(7, 3) % 4),
    ("image", np.arange(30).reshape(5, 6) % 7),
    ("volume", np.arange(4)[:, None, None] * np.ones((1, 3, 5), int)),
]


def members(groups, shape):
    """The groups as boolean arrays of the example's shape, by their labels."""
    labels = np.asarray(groups)
    labels = labels[..., None] if labels.ndim < len(shape) else labels
    return {k: np.broadcast_to(labels == k, shape) for k in np.unique(labels)}


def parts_channels(groups, shape):
    return np.ndim(groups) == len(shape)


@pytest.mark.parametrize("metric", BOTH)
@pytest.mark.parametrize(("kind", "groups"), GROUPS)
def test_groups_go_and_come_together(kind, groups, metric):
    shape = SHAPES[kind]
    model, x = smooth(shape), ordered(shape)
    maps = maps_of(shape if parts_channels(groups, shape) else one_channel(shape))
    found = metric(model, x, maps, TARGETS, substrate=0.5, step=1, groups=groups)
    for i, target in enumerate(TARGETS):
        wide = np.broadcast_to(maps[i], shape)
        units = sorted(members(groups, shape).values(), key=lambda m: -wide[m].mean())
        expected = slow_curve(model, x[i], units, target, 0.5, 1,
                              insertion=metric is metrics.insertion)  # fmt: skip
        np.testing.assert_allclose(found.scores[i], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("metric", BOTH)
@pytest.mark.parametrize(("kind", "cells"), [("sequence", (3,)), ("volume", (2, 3, 4))])
def test_coarse_maps_have_soft_edges(kind, cells, metric):
    shape = SHAPES[kind]
    model, x, maps = smooth(shape), ordered(shape), maps_of(cells)
    found = metric(model, x, maps[..., None], TARGETS, step=1)
    for i, target in enumerate(TARGETS):
        order, kept = np.argsort(-maps[i].ravel()), np.ones(cells)
        for k in range(maps[i].size + 1):
            kept.ravel()[order[:k]] = 0
            up = 1 - kept if metric is metrics.insertion else kept
            for axis, size in enumerate(shape[:-1]):
                matrix = align_corners(size, cells[axis])
                up = np.moveaxis(np.tensordot(matrix, up, [[1], [axis]]), 0, axis)
            expected = model((x[i] * up[..., None])[None])[0, target]
            np.testing.assert_allclose(found.scores[i, k], expected, rtol=1e-9, atol=1e-12)


def test_a_sequence_is_an_image_of_one_row():
    model, x, maps = smooth((9, 3)), ordered((9, 3)), maps_of((9, 1))
    as_image = lambda images: model(images[:, 0])  # noqa: E731
    row, coarse = (values[:, None] for values in (maps, maps_of((4, 1))))
    for metric, heatmaps, options, image_options in (
        (metrics.deletion, maps, {"step": 2}, {"step": 2}),
        (metrics.insertion, maps_of((4, 1)), {}, {}),
        (metrics.degradation, maps, {"patch": 4}, {"patch": 4}),
        (metrics.degradation, maps, {}, {}),
        (metrics.deletion, maps, {"groups": np.arange(9) % 4},
         {"groups": np.arange(9)[None] % 4}),
    ):  # fmt: skip
        found = metric(model, x, heatmaps, TARGETS, **options)
        whole = row if heatmaps is maps else coarse
        expected = metric(as_image, x[:, None], whole, TARGETS, **image_options)
        np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize(
    ("kind", "patch", "substrate"),
    [
        ("sequence", 3, None),
        ("sequence", None, None),
        ("volume", (2, 3, 4), None),
        ("volume", 2, 0.5),
        ("table", None, 0.5),
        ("table", 4, 0.5),
        ("image", (2, 4), None),
    ],
)
@pytest.mark.parametrize("channels", [1, None])
def test_degradation_is_the_loop(kind, patch, substrate, channels):
    shape = SHAPES[kind]
    positions = shape if kind == "table" else shape[:-1]
    model, x = smooth(shape), ordered(shape)
    maps = maps_of(one_channel(shape) if channels else shape)
    found = metrics.degradation(
        model, x, maps, TARGETS, patch=patch, substrate=substrate, most=3, batch_size=4
    )
    default = 1 if kind == "table" else 9
    sides = np.broadcast_to(default if patch is None else patch, len(positions))
    starts = np.array(np.meshgrid(*[range(0, n, s) for n, s in zip(positions, sides, strict=True)],
                                  indexing="ij")).reshape(len(positions), -1).T  # fmt: skip
    boxes = [tuple(slice(a, a + s) for a, s in zip(c, sides, strict=True)) for c in starts]
    assert found.fractions[-1] == min(3, len(boxes)) / len(boxes)
    for i, target in enumerate(TARGETS):
        summed = maps[i] if kind == "table" else maps[i].sum(-1)
        now = x[i].copy()
        for k, box in enumerate(sorted(boxes, key=lambda b: -summed[b].mean())[:3]):
            np.testing.assert_allclose(
                found.scores[i, k], model(now[None])[0, target], rtol=1e-9, atol=1e-12
            )
            mean = x[i][box].mean(tuple(range(len(positions))))
            now[box] = mean if substrate is None else substrate


@pytest.mark.parametrize(("kind", "groups"), GROUPS)
def test_groups_are_degraded_together(kind, groups):
    shape = SHAPES[kind]
    model, x = smooth(shape), ordered(shape)
    whole = parts_channels(groups, shape)
    maps, substrate = maps_of(shape), 0.25 if whole else None
    options = {"groups": groups, "most": 2}
    found = metrics.degradation(model, x, maps, TARGETS, substrate=substrate, **options)
    for i, target in enumerate(TARGETS):
        summed = maps[i] if whole else np.broadcast_to(maps[i].sum(-1, keepdims=True), shape)
        first = max(members(groups, shape).values(), key=lambda m: summed[m].mean())
        mean = 0.25 if whole else (x[i] * first).sum(tuple(range(len(shape) - 1)))
        mean = mean / 1 if whole else mean / first[..., 0].sum()
        degraded = np.where(first, mean, x[i])
        expected = model(degraded[None])[0, target]
        np.testing.assert_allclose(found.scores[i, 1], expected, rtol=1e-9, atol=1e-12)
    if whole:
        with pytest.raises(ValueError, match=r"substrate=None .* do not have: pass what takes"):
            metrics.degradation(model, x, maps, TARGETS, **options)


@pytest.mark.parametrize("slopes", [True, False])
@pytest.mark.parametrize(("kind", "groups"), [*GROUPS, *[(kind, None) for kind in SHAPES]])
def test_infidelity_is_the_loop(kind, groups, slopes):
    shape = SHAPES[kind]
    model, x, baseline = smooth(shape), ordered(shape), np.linspace(-1, 1, shape[-1])
    maps = maps_of(shape)
    found = metrics.infidelity(
        model, x, maps, TARGETS, slopes=slopes, baseline=baseline, groups=groups, samples=9,
        score=None, seed=5, batch_size=7,
    )  # fmt: skip
    layout = layout_of(x, groups=None if groups is None else np.asarray(groups))
    parts = random_parts(layout, 9, np.random.default_rng(5)).masks
    sets = list(members(groups, shape).values()) if groups is not None else []
    for s, part in enumerate(np.broadcast_to(parts, (9, *shape))):
        assert all(part[m].all() or not part[m].any() for m in sets)
        assert part.any()
        for i, target in enumerate(TARGETS):
            step = np.where(part, x[i] - baseline, 0)
            predicted = ((step if slopes else part) * maps[i]).sum()
            change = model(x[i][None])[0, target] - model((x[i] - step)[None])[0, target]
            np.testing.assert_allclose(found.predicted[i, s], predicted, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(found.change[i, s], change, rtol=1e-9, atol=1e-12)


def test_parts_have_every_size_and_stay_inside():
    random = np.random.default_rng(0)
    sequence = random_parts(layout_of(np.ones((1, 9, 2))), 200, random).masks[..., 0]
    assert set(sequence.sum(1)) == {1, 2, 3, 4}
    assert (np.abs(np.diff(np.pad(sequence.astype(int), [(0, 0), (1, 1)]))).sum(1) == 2).all()
    volume = random_parts(layout_of(np.ones((1, 4, 5, 9, 2))), 200, random).masks
    assert set(volume.sum((1, 2, 3, 4))) == {1, 8}
    table = random_parts(layout_of(np.ones((1, 7))), 200, random).masks
    assert set(table.sum(1)) == {1, 2, 3}
    assert table.any(0).all()
    assert random_parts(layout_of(np.ones((1, 1))), 3, random).masks.all()


@pytest.fixture(scope="module")
def two_inputs():
    """A model of a sequence "zz", a table "aa", and numbers of categories "mm"."""
    keras.utils.set_random_seed(0)
    zz, aa = keras.Input((7, 3), name="zz"), keras.Input((6,), name="aa")
    mm = keras.Input((2,), dtype="int32", name="mm")
    parts = [L.Flatten()(zz), aa, L.Flatten()(L.Embedding(9, 2)(mm))]
    out = L.Dense(3)(L.Dense(8, "tanh")(L.Concatenate()(parts)))
    return keras.Model({"zz": zz, "mm": mm, "aa": aa}, out), keras.Model([zz, aa, mm], out)


@pytest.fixture
def given():
    categories = np.array([[1, 8], [3, 0], [8, 8]])
    return {"zz": ordered((7, 3)), "aa": ordered((6,))[::-1], "mm": categories}


def predict(model, given, i, **changed):
    example = {name: np.asarray(changed.get(name, x[i]))[None] for name, x in given.items()}
    return model(example).numpy()[0]


@pytest.mark.parametrize("metric", BOTH)
def test_the_units_of_several_inputs_are_ranked_together(two_inputs, given, metric):
    named, listed = two_inputs
    heatmaps = {"zz": maps_of((7, 1)), "aa": 0.4 * maps_of((6,))[::-1]}
    substrate = {"zz": 0.5, "aa": np.linspace(-1, 1, 6)}
    options = {"substrate": substrate, "step": 2, "batch_size": 4}
    found = metric(named, given, heatmaps, TARGETS, **options)
    other = metric(listed, given, heatmaps, TARGETS, **options)
    np.testing.assert_allclose(found.scores, other.scores, rtol=1e-5)
    for i, target in enumerate(TARGETS):
        units = [("aa", j, v) for j, v in enumerate(heatmaps["aa"][i])]
        units += [("zz", j, v) for j, v in enumerate(heatmaps["zz"][i, :, 0])]
        units.sort(key=lambda unit: -unit[2])
        for k, number in enumerate([0, 2, 4, 6, 8, 10, 12, 13]):
            now = {"aa": given["aa"][i].copy(), "zz": given["zz"][i].copy()}
            for name, j, _ in units[number:] if metric is metrics.insertion else units[:number]:
                now[name][j] = np.broadcast_to(substrate[name], now[name].shape)[j]
            expected = predict(named, given, i, **now)[target]
            np.testing.assert_allclose(found.scores[i, k], expected, rtol=1e-4, atol=1e-5)


def test_inputs_without_a_map_stay(two_inputs, given):
    model = two_inputs[0]
    maps = maps_of((6,))
    found = metrics.deletion(model, given, {"aa": maps}, TARGETS, substrate=np.arange(6), step=1)

    def rest(aa):
        rows = [np.repeat(x, len(aa) // 3, 0) for x in (given["zz"], given["mm"])]
        return model({"aa": aa, "zz": rows[0], "mm": rows[1]}).numpy()

    for i, target in enumerate(TARGETS):
        alone = lambda aa, i=i: rest(np.concatenate([aa] * 3))[i * len(aa) : (i + 1) * len(aa)]  # noqa: E731
        expected = metrics.deletion(
            alone, given["aa"][i : i + 1], maps[i : i + 1], target, substrate=np.arange(6), step=1,
            batch_size=1,
        )  # fmt: skip
        np.testing.assert_allclose(found.scores[i], expected.scores[0], rtol=1e-4, atol=1e-5)
    groups = {"aa": [0, 0, 1, 1, 2, 2]}
    grouped = metrics.degradation(model, given, {"aa": maps}, 1, substrate=0.0, groups=groups)
    assert grouped.scores.shape == (3, 4)
    function = metrics.deletion(lambda x: model(x).numpy(), given, {"aa": maps}, TARGETS, step=1,
                                substrate=np.arange(6))  # fmt: skip
    np.testing.assert_allclose(function.scores, found.scores, rtol=1e-5)


def test_completeness_of_several_inputs_is_what_integrated_gradients_report():
    keras.utils.set_random_seed(1)
    zz, aa = keras.Input((7, 3), name="zz"), keras.Input((6,), name="aa")
    x = L.Concatenate()([L.Flatten()(zz), aa])
    model = keras.Model([zz, aa], L.Dense(3, "softmax")(L.Dense(8, "tanh")(x)))
    given = [ordered((7, 3)).astype("float32"), ordered((6,)).astype("float32")]
    record = tfxai.integrated_gradients(model, steps=3, baseline={"zz": 0.3, "aa": 0.0}).explain(
        given, TARGETS, verbose=0
    )
    for baseline in ({"zz": 0.3, "aa": 0.0}, [np.full((7, 3), 0.3), 0.0]):
        found = metrics.completeness(model, given, record.attributions, TARGETS, baseline=baseline)
        expected = record.diagnostics["completeness_gap"]
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-4)
    each = {"zz": np.zeros((3, 7, 3)), "aa": given[1]}
    values = metrics.completeness(model, given, record.attributions, TARGETS, baseline=each)
    rows = [metrics.completeness(model, [g[i : i + 1] for g in given],
                                 [m[i : i + 1] for m in record.attributions], TARGETS[i],
                                 baseline={"zz": 0.0, "aa": given[1][i]})[0]
            for i in range(3)]  # fmt: skip
    np.testing.assert_allclose(values, rows, rtol=1e-4)


def test_infidelity_of_a_perfect_map_of_several_inputs():
    weights = {"zz": maps_of((7, 3), 1)[0], "aa": maps_of((6,), 1)[0]}
    given = {"zz": ordered((7, 3)), "aa": ordered((6,))}

    def linear(x):
        parts = [np.tensordot(x[k], w, axes=np.ndim(w)) for k, w in weights.items()]
        return np.sum(parts, 0)[:, None]

    maps = {k: np.broadcast_to(w, given[k].shape) for k, w in weights.items()}
    for slopes, shares in ((True, maps), (False, {k: m * given[k] for k, m in maps.items()})):
        found = metrics.infidelity(linear, given, shares, 0, slopes=slopes, score=None, samples=20)
        np.testing.assert_allclose(found.error, 0, atol=1e-18)
        np.testing.assert_allclose(found.correlation, 1)
        one = metrics.infidelity(linear, given, {"zz": shares["zz"]}, 0, slopes=slopes, score=None)
        np.testing.assert_allclose(one.error, 0, atol=1e-18)


def test_maps_of_several_inputs_count_together(two_inputs, given):
    """Sensitivity, consistency, invariance, Gini index and rank correlation."""
    model = two_inputs[0]
    explain = lambda x, t: {k: np.sin(x[k]) for k in ("zz", "aa")}  # noqa: E731
    radius = {"zz": 0.1, "aa": 0.3}
    found = metrics.max_sensitivity(explain, given, 0, radius=radius, samples=3, seed=2)
    random, before = np.random.default_rng(2), explain(given, 0)
    size = np.sqrt(sum((m**2).reshape(3, -1).sum(1) for m in before.values()))
    largest = np.zeros(3)
    for _ in range(3):
        moved = {k: given[k] + random.uniform(-radius[k], radius[k], given[k].shape[1:])
                 for k in ("aa", "zz")}  # fmt: skip
        after = explain(moved, 0)
        change = sum(((after[k] - before[k]) ** 2).reshape(3, -1).sum(1) for k in after)
        largest = np.maximum(largest, np.sqrt(change))
    np.testing.assert_allclose(found, largest / size, rtol=1e-9)

    joined = np.concatenate([before["aa"], before["zz"].reshape(3, -1)], 1)
    other = {k: np.cos(m) for k, m in before.items()}
    np.testing.assert_array_equal(metrics.gini(before), metrics.gini(joined))
    np.testing.assert_allclose(
        metrics.rank_correlation(before, other), metrics.rank_correlation(joined, np.cos(joined))
    )
    floats = keras.Model([model.input["zz"], model.input["aa"]],
                         L.Dense(2)(L.Concatenate()([L.Flatten()(model.input["zz"]),
                                                     model.input["aa"]])))  # fmt: skip
    only = {k: given[k].astype("float32") for k in ("zz", "aa")}
    gradient = tfxai.gradient(floats)
    moved = metrics.shifted(floats, {"aa": 2.0})
    np.testing.assert_allclose(
        moved({"zz": only["zz"], "aa": only["aa"] + 2}), floats(only), rtol=1e-4, atol=1e-5
    )
    same = metrics.invariance(gradient, tfxai.gradient(moved), only, 1, shift={"aa": 2.0})
    np.testing.assert_allclose(same, 1, atol=1e-6)
    assert metrics.consistency(floats, gradient, only, 1).correlations.shape == (1, 3)
    assert metrics.max_sensitivity(gradient, only, 1).max() < 1e-6


def test_channels_first_sequences():
    keras.utils.set_random_seed(0)
    last = keras.Sequential([keras.Input((9, 3)), L.Flatten(), L.Dense(3)])
    first = keras.Sequential([keras.Input((3, 9)), L.Permute((2, 1)), last])
    x, maps = ordered((9, 3)).astype("float32"), maps_of((9, 3))
    options = {"data_format": "channels_first"}
    for of in (
        lambda m, x, a, **o: metrics.deletion(m, x, a[..., :1] if not o else a[:, :1], 1, **o),
        lambda m, x, a, **o: metrics.degradation(m, x, a, 1, patch=4, substrate="mean", **o)
        if x.ndim == 4 else metrics.degradation(m, x, a, 1, patch=4, **o),
    ):  # fmt: skip
        found = of(first, np.swapaxes(x, 1, 2), np.swapaxes(maps, 1, 2), **options)
        np.testing.assert_allclose(found.scores, of(last, x, maps).scores, rtol=1e-4, atol=1e-5)


def test_a_subclassed_model_of_a_dict_in_mixed_precision():
    class Both(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(2, dtype="mixed_float16")

        def call(self, inputs):
            return self.dense(keras.ops.concatenate([inputs["zz"], inputs["aa"]], 1))

    keras.utils.set_random_seed(0)
    model = Both()
    given = {"zz": ordered((4,)), "aa": ordered((2,))}
    maps = {"zz": maps_of((4,)), "aa": maps_of((2,))}
    for one in (given, {k: x[:1] for k, x in given.items()}):
        count = len(one["aa"])
        some = {k: m[:count] for k, m in maps.items()}
        curve = metrics.deletion(model, one, some, 1, step=1, score=scores.logit)
        whole = model({k: x.astype("float32") for k, x in one.items()}).numpy()[:, 1]
        np.testing.assert_allclose(curve.scores[:, 0], whole, rtol=1e-2, atol=1e-3)
        nothing = model({k: 0 * x.astype("float32") for k, x in one.items()}).numpy()[:, 1]
        np.testing.assert_allclose(curve.scores[:, -1], nothing, atol=1e-3)


X, MAPS = np.ones((2, 6)), np.arange(12.0).reshape(2, 6)
SEQUENCE = np.ones((2, 7, 3))


@pytest.mark.parametrize(
    ("of", "kind", "message"),
    [
        (lambda f: metrics.deletion(f, X, MAPS[:, :5], 0), ValueError, r"has shape \[2, 5\]"),
        (lambda f: metrics.deletion(f, X, MAPS, 0, groups=[0, 1]), ValueError, "groups has shape"),
        (lambda f: metrics.deletion(f, X, MAPS, 0, groups={"b": [0] * 6}), TypeError, ": 'b'"),
        (lambda f: metrics.deletion(f, X, {"zz": MAPS}, 0), TypeError, "keys 'zz'; pass"),
        (lambda f: metrics.deletion(f, X * np.nan, MAPS, 0), ValueError, "inputs has NaN"),
        (lambda f: metrics.deletion(f, {"a": X}, MAPS[0], 0), ValueError, "heatmaps has shape"),
        (lambda f: metrics.deletion(f, {"a": X, "b": X}, MAPS, 0), TypeError, "got one array"),
        (lambda f: metrics.deletion(f, {"a": X, "b": X[:1]}, {"a": MAPS}, 0), ValueError,
         "as many examples of each"),
        (lambda f: metrics.deletion(f, SEQUENCE, SEQUENCE, 0), ValueError, "3 channels: say how"),
        (lambda f: metrics.deletion(f, SEQUENCE, SEQUENCE[..., :2], 0, per_channel=True),
         ValueError, r"expected \[2, 7, 3\]"),
        (lambda f: metrics.deletion(f, SEQUENCE, SEQUENCE, 0, groups=np.arange(7)), ValueError,
         "3 channels, and the groups have 1"),
        (lambda f: metrics.deletion(f, SEQUENCE, np.ones((2, 8)), 0), ValueError, r"at most \[7\]"),
        (lambda f: metrics.degradation(f, X, MAPS, 0), ValueError, "features of a table do not"),
        (lambda f: metrics.degradation(f, X, MAPS, 0, patch=2, groups=[0] * 6), ValueError,
         "groups with patch"),
        (lambda f: metrics.degradation(f, SEQUENCE, SEQUENCE, 0, patch=(2, 2)), ValueError,
         r"one for each axis"),
        (lambda f: metrics.infidelity(f, SEQUENCE, SEQUENCE[..., :1], 0, slopes=False, score=None,
                                      groups=np.arange(21).reshape(7, 3)), ValueError,
         "the groups part channels"),
        (lambda f: metrics.max_sensitivity(f, X.astype(int), 0), ValueError, "int64, to which"),
        (lambda f: metrics.max_sensitivity(f, X, 0, radius={"zz": 1.0}), TypeError, "'zz' is no"),
        (lambda f: metrics.gini([np.ones((2, 3)), np.ones((2, 4))]), ValueError, "a dict by their"),
        (lambda f: metrics.gini({"a": X, "b": X[:1]}), ValueError, "maps of 2, 1 examples"),
        (lambda f: metrics.information_level(f, X, MAPS, 0, bounds=(0, 1)), ValueError,
         "file of an image"),
        (lambda f: metrics.invariance(f, f, {"a": X, "b": X}, 0), TypeError, "shift=1.0: expected"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(of, kind, message):
    with pytest.raises(kind, match=message):
        of(lambda x, *targets: np.zeros((len(x), 2)))


def test_images_of_moved_channels_keep_their_groups():
    keras.utils.set_random_seed(0)
    last = keras.Sequential([keras.Input((5, 6, 2)), L.Conv2D(2, 3), L.Flatten(), L.Dense(3)])
    first = keras.Sequential([keras.Input((2, 5, 6)), L.Permute((2, 3, 1)), last])
    x, maps = ordered((5, 6, 2)).astype("float32"), maps_of((5, 6, 2))
    groups = np.arange(30).reshape(5, 6) % 4
    of = {
        "deletion": lambda m, x, a: metrics.deletion(m, x, a, 1, per_channel=True, step=7).scores,
        "degradation": lambda m, x, a: metrics.degradation(m, x, a, 1, groups=groups).scores,
        "infidelity": lambda m, x, a: (
            metrics.infidelity(m, x, a, 1, slopes=True, groups=groups, samples=5).change
        ),
    }
    for metric in of.values():
        found = metric(first, channels_moved(x), channels_moved(maps))
        np.testing.assert_allclose(found, metric(last, x, maps), rtol=1e-3, atol=1e-5)
