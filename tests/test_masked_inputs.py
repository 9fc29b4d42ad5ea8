"""Occlusion and RISE of all kinds of inputs, of any size, and of several, by slow loops."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.networks import Subclassed, channels_moved
from tfxai import scores

L = keras.layers
SHAPES = {"sequence": (11, 3), "volume": (5, 6, 4, 2), "table": (6,), "image": (6, 7, 2)}


def network(shape, seed=3):
    """A smooth network of two classes, all of whose inputs matter together."""
    keras.utils.set_random_seed(seed)
    layers = [L.Flatten(), L.Dense(7, "tanh", bias_initializer="normal"), L.Dense(2)]
    return keras.Sequential([keras.Input(shape), *layers])


def ordered(shape, count=3):
    """Examples from faint to strong."""
    scale = np.linspace(0.3, 1.5, count).reshape(-1, *[1] * len(shape))
    return (np.random.default_rng(4).normal(size=(count, *shape)) * scale).astype("float32")


def starts(size, length, stride):
    return sorted({*range(0, size - length, stride), size - length})


def slow_occlusion(predict, x, target, lengths, strides, channels, reference):
    """The mean drop over all patches with an element, example by example, in loops."""
    positions = x.shape if len(x.shape) == 1 else x.shape[:-1]
    total, times = np.zeros(x.shape), np.zeros(x.shape)
    corners = [starts(*sizes) for sizes in zip(positions, lengths, strides, strict=True)]
    for corner in itertools.product(*corners):
        place = tuple(slice(c, c + n) for c, n in zip(corner, lengths, strict=True))
        for channel in channels:
            there = place if channel is None else (*place, channel)
            covered = x.copy()
            covered[there] = np.broadcast_to(reference, x.shape)[there]
            total[there] += predict(x)[target] - predict(covered)[target]
            times[there] += 1
    return total / times


@pytest.mark.parametrize(
    ("kind", "lengths", "strides", "options"),
    [
        ("sequence", (4,), (3,), {"patch": 4, "stride": 3}),
        ("sequence", (2,), (1,), {}),
        ("volume", (2, 3, 1), (1, 2, 1), {"patch": (2, 3, 1), "stride": (1, 2, 1)}),
        ("volume", (1, 1, 1), (1, 1, 1), {}),
        ("table", (1,), (1,), {}),
        ("table", (3,), (2,), {"patch": 3, "stride": 2}),
        ("image", (2, 3), (1, 2), {"patch": (2, 3), "stride": (1, 2)}),
    ],
)
@pytest.mark.parametrize("per_channel", [False, True])
def test_occlusion_is_the_loop(kind, lengths, strides, options, per_channel):
    shape = SHAPES[kind]
    model, x, reference = network(shape), ordered(shape), np.linspace(-1, 1, shape[-1])
    explainer = tfxai.occlusion(model, baseline=reference, per_channel=per_channel, **options)
    record = explainer.explain(x, [1, 0, 1], verbose=0, batch_size=2)
    together = [None] if kind == "table" else [slice(None)]
    channels = range(shape[-1]) if per_channel and kind != "table" else together

    def predict(example):
        return model(example[None]).numpy()[0]

    for i, target in enumerate([1, 0, 1]):
        expected = slow_occlusion(predict, x[i], target, lengths, strides, channels, reference)
        expected = expected if per_channel or kind == "table" else expected[..., :1]
        np.testing.assert_allclose(record.attributions[i], expected, rtol=1e-3, atol=1e-5)
    assert record.plot().axes


@pytest.mark.parametrize(
    ("kind", "groups"),
    [
        ("table", [7, 7, 0, 3, 3, 3]),
        ("sequence", np.arange(11) // 4),
        ("sequence", np.arange(3)[None]),
        ("sequence", np.arange(33).reshape(11, 3) % 4),
        ("image", np.arange(42).reshape(6, 7) % 5),
    ],
)
def test_groups_are_covered_together(kind, groups):
    shape = SHAPES[kind]
    model, x = network(shape), ordered(shape)
    maps = tfxai.occlusion(model, groups=groups, baseline=0.5)(x, 1).numpy()
    labels = np.asarray(groups)
    labels = labels[..., None] if kind != "table" and labels.ndim < len(shape) else labels
    labels = np.broadcast_to(labels, shape)
    assert maps.shape[1:] in (shape, (*shape[:-1], 1))
    for group in np.unique(labels):
        drop = (model(x) - model(np.where(labels == group, 0.5, x).astype("float32")))[:, 1]
        found = np.broadcast_to(maps, x.shape)[:, labels == group]
        np.testing.assert_allclose(found, np.broadcast_to(drop[:, None], found.shape), atol=1e-5)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("per_channel", [False, True])
def test_rise_of_given_masks_is_their_weighted_mean(kind, per_channel):
    shape = SHAPES[kind]
    model, x = network(shape), ordered(shape)
    whole = per_channel or kind == "table"
    own = np.random.default_rng(5).random((13, *(shape if whole else shape[:-1])))
    explainer = tfxai.rise(
        model, masks=own, score=scores.logit, baseline=0.3, per_channel=per_channel
    )
    masks = (own if whole else own[..., None]).astype("float32")
    total = 0.0
    for mask in masks:
        f = model((x * mask + np.float32(0.3) * (1 - mask)).astype("float32")).numpy()[:, 1]
        total += f.reshape(-1, *[1] * len(shape)) * mask
    found = explainer.explain(x, 1, verbose=0, batch_size=2)
    np.testing.assert_allclose(found.attributions, total / 13 / own.mean(), rtol=1e-4, atol=1e-5)
    assert found.plot().axes


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("sequence", {"grid": 4}),
        ("sequence", {"grid": 3, "per_channel": True}),
        ("volume", {"grid": (2, 3, 2)}),
        ("volume", {"grid": 2, "per_channel": True}),
        ("table", {}),
        ("table", {"grid": 3}),
        ("table", {"groups": [0, 0, 1, 2, 2, 2]}),
        ("image", {"grid": 3, "per_channel": True}),
    ],
)
def test_random_masks_let_through_what_is_said(kind, options):
    """A model of one number gives E m / p = 1; one that sums the input tells the masks' spread."""
    shape = SHAPES[kind]
    x = np.ones((1, *shape), "float32")
    one = keras.Sequential([keras.Input(shape), L.Flatten(), L.Dense(1, bias_initializer="ones")])
    one.layers[-1].kernel.assign(0 * one.layers[-1].kernel)
    record = tfxai.rise(one, masks=3000, probability=0.3, score=scores.logit, **options).explain(
        x, 1, verbose=0
    )
    error = record.diagnostics["standard_error"]
    assert error.shape == record.attributions.shape
    assert (np.abs(record.attributions - 1) < 5 * error).all()
    assert (error > 0).all()


def test_single_channels_have_masks_of_their_own():
    """The mean of w_c m_c m_c' differs between channels only if their masks do."""
    model = keras.Sequential([keras.Input((8, 2)), L.Flatten(), L.Dense(1, use_bias=False)])
    weights = np.zeros((16, 1))
    weights[0::2] = 1  # the first channel alone counts
    model.set_weights([weights])
    x = np.ones((1, 8, 2), "float32")
    maps = tfxai.rise(model, masks=4000, grid=8, per_channel=True, score=scores.logit)(x, 1)
    np.testing.assert_allclose(maps[0, :, 0], 4.5, atol=0.4)  # 8/2 + 1/2, were shifts none
    np.testing.assert_allclose(maps[0, :, 1], 4.0, atol=0.4)
    assert (maps[0, :, 0].numpy() > maps[0, :, 1].numpy()).all()


def open_size_model():
    keras.utils.set_random_seed(0)
    layers = [L.Conv2D(4, 3, activation="relu"), L.GlobalAveragePooling2D(), L.Dense(3)]
    return keras.Sequential([keras.Input((None, None, 2)), *layers])


@pytest.mark.parametrize(
    "builder", [lambda m: tfxai.occlusion(m, patch=3), lambda m: tfxai.rise(m, masks=9, grid=2)]
)
def test_where_any_size_is_taken_that_of_the_call_counts(builder):
    model = open_size_model()
    explainer = builder(model)
    for size in ((7, 9), (12, 5), (7, 9)):
        fixed = keras.Sequential([keras.Input((*size, 2)), *model.layers])
        x = ordered((*size, 2), 4)
        expected = builder(fixed).explain(x, 1, verbose=0).attributions
        np.testing.assert_allclose(explainer(x, 1), expected, rtol=1e-4, atol=1e-6)
        found = explainer.explain(x, 1, verbose=0, batch_size=3)
        np.testing.assert_allclose(found.attributions, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"known size, .* put keras\.Input\(\(size, size, 2\)\)"):
        explainer(keras.Input((None, None, 2)), 1)


def two_named(kind):
    """A model of a sequence "zz" and a table "aa", in a dict, or in a list."""
    keras.utils.set_random_seed(1)
    zz, aa = keras.Input((5, 2), name="zz"), keras.Input((3,), name="aa")
    hidden = L.Dense(6, "tanh")(L.Concatenate()([L.Flatten()(zz), aa]))
    inputs = {"zz": zz, "aa": aa} if kind == "dict" else [zz, aa]
    return keras.Model(inputs, L.Dense(2)(hidden))


def named_data():
    return {"zz": ordered((5, 2), 4), "aa": ordered((3,), 4) + 1}


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_of_several_inputs_one_is_covered_and_the_others_stay(kind, tmp_path):
    model, x = two_named(kind), named_data()
    given = x if kind == "dict" else [x["zz"], x["aa"]]

    def predict(zz, aa):
        parts = {"zz": zz[None], "aa": aa[None]}
        return model(parts if kind == "dict" else [parts["zz"], parts["aa"]]).numpy()[0]

    def expected(name, i):
        zz, aa = x["zz"][i], x["aa"][i]
        if name == "aa":
            return slow_occlusion(lambda v: predict(zz, v), aa, 1, (1,), (1,), [None], 0)
        whole = slow_occlusion(lambda v: predict(v, aa), zz, 1, (2,), (1,), [slice(None)], 0)
        return whole[:, :1]

    patch = {"zz": 2}
    everything = tfxai.occlusion(model, patch=patch).explain(given, 1, verbose=0, batch_size=3)
    maps = everything.attributions
    maps = maps if kind == "dict" else dict(zip(("zz", "aa"), maps, strict=True))
    for name in ("zz", "aa"):
        alone = tfxai.occlusion(model, inputs=name, patch=patch)
        record = alone.explain(given, 1, verbose=0, batch_size=3)
        for i in range(4):
            np.testing.assert_allclose(record.attributions[i], expected(name, i), atol=1e-5)
        np.testing.assert_array_equal(record.attributions, maps[name])
        np.testing.assert_array_equal(record.inputs, x[name])
        assert record.channels == -1
        assert record.plot().axes
        alone.save(tmp_path / "alone.keras")
        loaded = keras.saving.load_model(tmp_path / "alone.keras")
        np.testing.assert_allclose(loaded(given, 1), record.attributions, rtol=1e-5, atol=1e-6)
    both = tfxai.occlusion(model, inputs=["aa", "zz"], patch=patch)(given, 1)
    both = both if kind == "dict" else dict(zip(("zz", "aa"), both, strict=True))
    for name in ("zz", "aa"):
        np.testing.assert_allclose(both[name], maps[name], atol=1e-6)
    assert everything.plot().axes


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_rise_masks_several_inputs_by_masks_of_each(kind):
    model, x = two_named(kind), named_data()
    given = x if kind == "dict" else [x["zz"], x["aa"]]
    random = np.random.default_rng(0)
    own = {"zz": random.random((9, 5)), "aa": random.random((9, 3)) / 2}
    reference = {"zz": 0.5, "aa": -1.0}
    explainer = tfxai.rise(model, masks=own, score=scores.logit, baseline=reference)
    found = explainer.explain(given, 1, verbose=0, batch_size=3)
    maps = found.attributions
    maps = maps if kind == "dict" else dict(zip(("zz", "aa"), maps, strict=True))
    total = {"zz": 0.0, "aa": 0.0}
    for k in range(9):
        mask = {"zz": own["zz"][k][:, None], "aa": own["aa"][k]}
        shown = {n: x[n] * mask[n] + reference[n] * (1 - mask[n]) for n in x}
        f = model(shown if kind == "dict" else [shown["zz"], shown["aa"]]).numpy()[:, 1]
        for n in x:
            total[n] = total[n] + f.reshape(-1, *[1] * (x[n].ndim - 1)) * mask[n]
    for n in x:
        np.testing.assert_allclose(maps[n], total[n] / 9 / own[n].mean(), rtol=1e-3, atol=1e-4)
    assert tfxai.rise(model, masks=40, inputs="zz")(given, 1).shape == (4, 5, 1)
    drawn = tfxai.rise(model, masks=40).explain(given, 1, verbose=0)
    errors = drawn.diagnostics["standard_error"]
    errors = errors if kind == "dict" else dict(zip(("zz", "aa"), errors, strict=True))
    assert {n: e.shape for n, e in errors.items()} == {"zz": (4, 5, 1), "aa": (4, 3)}


def test_some_of_three_inputs_are_a_dict_by_name():
    inputs = [keras.Input((n,), name=name) for n, name in ((2, "zz"), (3, "mm"), (4, "aa"))]
    model = keras.Model(inputs, L.Dense(2)(L.Concatenate()(inputs)))
    x = [ordered((n,)) for n in (2, 3, 4)]
    record = tfxai.occlusion(model, inputs=["zz", "aa"]).explain(x, 1, verbose=0)
    kernel = model.layers[-1].kernel.numpy()[:, 1]
    expected = {"zz": x[0] * kernel[:2], "aa": x[2] * kernel[5:]}
    assert set(record.attributions) == {"zz", "aa"}
    for name, maps in expected.items():
        np.testing.assert_allclose(record.attributions[name], maps, atol=1e-5)
    assert record.plot().axes


def test_a_subclassed_model_and_channels_first_volumes():
    shape = (5, 6, 4, 2)
    model, x = network(shape), ordered(shape)
    expected = tfxai.occlusion(model, patch=2)(x, 1).numpy()
    found = tfxai.occlusion(Subclassed(model), patch=2)(x, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    first = Subclassed(lambda v: keras.ops.moveaxis(v, 1, -1), model)
    moved = tfxai.occlusion(first, patch=2, data_format="channels_first")(channels_moved(x), 1)
    np.testing.assert_allclose(moved, channels_moved(expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", [tfxai.occlusion, lambda m, **k: tfxai.rise(m, masks=5, **k)])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": "yy"}, r"inputs='yy': the model has no such input, but 'aa', 'zz'"),
        ({"inputs": []}, r"inputs=\[\]: expected the names"),
        ({"inputs": ["zz", "zz"]}, "each once"),
        ({"inputs": "aa", "groups": [0, 1]}, r"groups has shape \[2\]: expected \[3\]"),
        ({"inputs": "zz", "groups": np.zeros((4, 2), int)}, r"expected \[5\], or \[5, 2\]"),
        ({"groups": {"aa": [0, 0, 1]}, "per_channel": True}, "leave out per_channel"),
        ({"inputs": "zz", "baseline": np.ones((2, 5, 2))}, "a batch of 2 references"),
    ],
)
def test_bad_options(method, options, message):
    with pytest.raises(ValueError, match=message):
        method(two_named("dict"), **options)(named_data(), 1)


def test_options_of_a_wrong_type_or_size():
    with pytest.raises(TypeError, match=r"groups=\[0\.5\]"):
        tfxai.occlusion(network((1,)), groups=[0.5])
    with pytest.raises(TypeError, match="per_channel=1"):
        tfxai.occlusion(network((1,)), per_channel=1)
    with pytest.raises(ValueError, match="groups with patch or stride"):
        tfxai.occlusion(network((3,)), groups=[0, 0, 1], patch=2)
    with pytest.raises(ValueError, match=r"patch=\(2, 2\): expected a number, or one for each"):
        tfxai.occlusion(network((9, 2)), patch=(2, 2))(ordered((9, 2)))


@pytest.mark.parametrize("name", ["blur", "mean", "noise"])
@pytest.mark.parametrize("kind", ["sequence", "volume"])
def test_named_baselines_are_those_of_the_input(kind, name):
    shape = SHAPES[kind]
    model, x = network(shape), ordered(shape)
    found = tfxai.occlusion(model, patch=2, baseline=name)(x, 1)
    for i in range(3):
        reference = np.broadcast_to(
            tfxai.baselines.baseline(name)(tf.constant(x[i : i + 1]))[0, 0], shape
        )
        own = tfxai.occlusion(model, patch=2, baseline=reference)(x[i : i + 1], 1)
        np.testing.assert_allclose(found[i], own[0], rtol=1e-3, atol=1e-5)


def test_a_table_has_no_blur():
    for build in (tfxai.occlusion, tfxai.rise):
        explainer = build(network((6,)), baseline="blur")
        with pytest.raises(ValueError, match=r"baseline='blur' needs images.*pass numbers"):
            explainer(ordered((6,)), 1)


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (tfxai.occlusion, {"patch": {"zz": 2, "typo": 1}}),
        (tfxai.occlusion, {"stride": {"typo": 1}}),
        (tfxai.occlusion, {"groups": {"typo": [0, 0, 1, 1]}}),
        (tfxai.rise, {"grid": {"typo": 2}}),
        (tfxai.rise, {"groups": {"zz": np.arange(5), "typo": [0, 0, 1, 1]}, "inputs": "zz"}),
    ],
)
def test_an_option_of_another_input_is_refused(build, options):
    keras.utils.set_random_seed(0)
    zz, aa = keras.Input((5, 2), name="zz"), keras.Input((4,), name="aa")
    model = keras.Model([zz, aa], L.Dense(2)(L.Concatenate()([L.Flatten()(zz), aa])))
    given = [ordered((5, 2)), ordered((4,))]
    option = next(iter(options))
    with pytest.raises(TypeError, match=rf"{option}: 'typo' is no input that it is for"):
        build(model, **options)(given, 1)


def test_groups_of_one_input_beside_its_patch_are_refused():
    zz, aa = keras.Input((5, 2), name="zz"), keras.Input((4,), name="aa")
    model = keras.Model([zz, aa], L.Dense(2)(L.Concatenate()([L.Flatten()(zz), aa])))
    given = [ordered((5, 2)), ordered((4,))]
    groups = {"aa": [0, 0, 1, 1]}
    assert tfxai.occlusion(model, groups=groups, patch={"zz": 2})(given, 1)[1].shape == (3, 4)
    for option in ("patch", "stride"):
        explainer = tfxai.occlusion(model, groups=groups, **{option: {"aa": 2}})
        with pytest.raises(ValueError, match="groups of 'aa' with patch or stride"):
            explainer(given, 1)
