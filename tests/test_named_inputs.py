"""Inputs go by their names, whatever order a structure has; what has another name is refused."""

from collections import OrderedDict

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.networks import small_cnn
from tests.thorough import quick
from tfxai.core.named_inputs import as_declared, as_given

L = keras.layers
RNG = np.random.default_rng(0)
Z = RNG.normal(size=(3, 2)).astype("float32")
A = RNG.normal(size=(3, 2)).astype("float32")


def difference(structure):
    """A model zz^2 - 2 aa^3 of two inputs of equal width, declared as list, tuple or dict."""
    zz, aa = keras.Input((2,), name="zz"), keras.Input((2,), name="aa")
    inputs = {
        "list": [zz, aa],
        "tuple": (zz, aa),
        "dict": {"zz": zz, "aa": aa},
        "sorted": {"aa": aa, "zz": zz},
    }[structure]
    total = keras.ops.sum(zz**2 - 2 * aa**3, -1, keepdims=True)
    return keras.Model(inputs, total)


STRUCTURES = ("list", "tuple", "dict", "sorted")
TRUE = {"zz": 2 * Z, "aa": -6 * A**2}


def assert_true(maps):
    assert set(maps) == {"zz", "aa"}
    for name, expected in TRUE.items():
        np.testing.assert_allclose(maps[name], expected, rtol=1e-5)


ORDERS = [(structure, names) for structure in STRUCTURES for names in ("zz aa", "aa zz")]
"""How a model declares its inputs, and the order of the names in a dict that it is given."""
SOME = [("list", "aa zz"), ("tuple", "zz aa"), ("dict", "aa zz"), ("sorted", "zz aa")]


@pytest.mark.parametrize(("structure", "names"), quick(ORDERS, *SOME))
def test_a_dict_is_matched_by_name(structure, names, tmp_path):
    names = names.split()
    given = {name: {"zz": Z, "aa": A}[name] for name in names}
    explainer = tfxai.gradient(difference(structure))
    record = explainer.explain(given, 1, verbose=0)
    assert_true(explainer(given, 1))
    assert_true(record.attributions)
    assert list(record.attributions) == names
    np.testing.assert_allclose(record.scores, np.sum(Z**2 - 2 * A**3, 1), rtol=1e-5)
    assert_true(explainer.predict(given, verbose=0))
    symbolic = {name: keras.Input((2,), name=name) for name in names}
    assert_true(keras.Model(symbolic, explainer(symbolic, 1))(given))
    explainer.save(tmp_path / "explainer.keras")
    assert_true(keras.saving.load_model(tmp_path / "explainer.keras")(given, 1))


@pytest.mark.parametrize("structure", ["list", "tuple", "sorted"])
def test_a_list_follows_the_model_s_inputs(structure):
    model = difference(structure)
    arrays = [{"zz": Z, "aa": A}[x.name] for x in model.inputs]
    np.testing.assert_allclose(model(arrays), np.sum(Z**2 - 2 * A**3, 1, keepdims=True), rtol=1e-5)
    maps = tfxai.gradient(model)(arrays, 1)
    for x, found in zip(model.inputs, maps, strict=True):
        np.testing.assert_allclose(found, TRUE[x.name], rtol=1e-5)


def test_a_list_is_refused_where_keras_refuses_it():
    model = difference("dict")
    with pytest.raises(ValueError, match="structure"):
        model([Z, A])
    with pytest.raises(TypeError, match=r"inputs: .*'zz', 'aa', whose order.*pass a dict"):
        tfxai.gradient(model)([Z, A])


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"zz": Z, "zzz": A}, "'zzz' is none of them, perhaps 'aa'|'zzz' is none.*'aa' is missing"),
        ({"zz": Z, "a": A}, "'a' is none of them, perhaps 'aa'.*'aa' is missing"),
        ({"zz": Z}, "'aa' is missing"),
        ({"zz": Z, "aa": A, "other": A}, "'other' is none of them"),
        ([Z], "a list of 1"),
        (Z, "one array"),
    ],
)
def test_other_names_are_refused(structure, inputs, message):
    explainer = tfxai.gradient(difference(structure))
    for explain in (explainer, explainer.explain):
        with pytest.raises(TypeError, match=f"inputs: .*({message})"):
            explain(inputs, 1)


def test_one_input_goes_by_its_name_too():
    x = keras.Input((2,), name="row")
    explainer = tfxai.gradient(keras.Model(x, keras.ops.sum(x**2, -1, keepdims=True)))
    for given in ({"row": Z}, [Z], (Z,)):
        maps = explainer(given, 1)
        assert type(maps) is type(given)
        np.testing.assert_allclose(tf.nest.flatten(maps)[0], 2 * Z, rtol=1e-6)
    with pytest.raises(TypeError, match="'rows' is none of them, perhaps 'row'"):
        explainer({"rows": Z})


def test_structures_may_be_nested():
    specs = {n: tf.TensorSpec([None], name=n) for n in "abc"}
    declared = [specs["c"], {"left": specs["b"], "far": (specs["a"],)}]
    given = ("C", {"far": ["A"], "left": "B"})
    assert as_declared(given, declared) == ["C", {"left": "B", "far": ("A",)}]
    assert as_given(["c", {"left": "b", "far": ("a",)}], given, declared) == (
        "c",
        {"far": ["a"], "left": "b"},
    )
    with pytest.raises(TypeError, match=r"inputs\[1\]: .*'lift' is none of them, perhaps 'left'"):
        as_declared(["C", {"lift": "B", "far": ["A"]}], declared)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_patterns_are_fitted_by_name(structure):
    zz, aa = keras.Input((2,), name="zz"), keras.Input((2,), name="aa")
    inputs = [zz, aa] if structure in ("list", "tuple") else {"zz": zz, "aa": aa}
    joined = L.Dense(3, name="of_zz")(zz) + L.Dense(3, name="of_aa")(aa)
    model = keras.Model(inputs, L.Dense(2)(L.ReLU()(joined)))
    data = {"zz": RNG.normal(size=(40, 2)), "aa": 5 + RNG.normal(size=(40, 2))}
    expected = tfxai.fit_patterns(
        keras.Model(zz, L.Dense(2)(model.get_layer("of_zz")(zz))), data["zz"], verbose=0
    )["of_zz"]
    for given in (data, {"aa": data["aa"], "zz": data["zz"]}):
        found = tfxai.fit_patterns(model, given, verbose=0)["of_zz"]
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    with pytest.raises(TypeError, match="'aaa' is none of them, perhaps 'aa'"):
        tfxai.fit_patterns(model, {"zz": data["zz"], "aaa": data["aa"]}, verbose=0)


ENDS = {"zz": 0.25, "aa": -0.5}
"""A baseline of each input; the model is zz^2 - 2 aa^3."""


def gains():
    """What each input's way from its baseline adds, by the calculus of one variable."""
    return {"zz": Z**2 - ENDS["zz"] ** 2, "aa": -2 * (A**3 - ENDS["aa"] ** 3)}


FROM_BASELINES = {
    "integrated_gradients": lambda m, b: tfxai.integrated_gradients(m, baseline=b),
    "expected_gradients": lambda m, b: tfxai.expected_gradients(
        m, {k: np.full((1, 2), v) for k, v in b.items()}, samples=4000
    ),
}


@pytest.mark.parametrize(
    ("structure", "names", "method"),
    quick(
        [(*order, method) for order in ORDERS for method in FROM_BASELINES],
        *((*SOME[i], "integrated_gradients") for i in (0, 3)),
        *((*SOME[i], "expected_gradients") for i in (1, 2)),
    ),
)
def test_a_baseline_goes_by_name(structure, names, method):
    baseline = {name: ENDS[name] for name in names.split()}
    found = FROM_BASELINES[method](difference(structure), baseline)({"zz": Z, "aa": A}, 1)
    for name, expected in gains().items():
        np.testing.assert_allclose(found[name], expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("structure", quick(STRUCTURES, "list", "sorted"))
def test_bounds_go_by_name(structure):
    """The noise fits each input's own bounds: that of aa would carry zz beyond its own."""
    model = difference(structure)
    low, high = {"aa": -10.0, "zz": -4.0}, {"zz": 4.0, "aa": 10.0}
    explainer = tfxai.adaptgrad(model, bounds=(low, high), samples=2000, confidence=0.6)
    found = explainer.explain({"aa": A, "zz": Z}, 1, verbose=0)
    sigma = (10 - np.abs(A)) / 0.8416  # of P(|t| < m) = .6
    expected = -6 * (A**2 + sigma**2)  # E[-6 (aa + sigma t)^2]
    np.testing.assert_allclose(found.attributions["aa"], expected, rtol=0.15)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(
    "build",
    [
        lambda m, v: tfxai.integrated_gradients(m, baseline=v),
        lambda m, v: tfxai.expected_gradients(m, {k: np.ones((1, 2)) for k in v}),
        lambda m, v: tfxai.adaptgrad(m, bounds=(v, 9.0)),
    ],
)
def test_other_names_in_a_baseline_or_bounds_are_refused(structure, build):
    with pytest.raises(TypeError, match="'zzz' is none of them, perhaps"):
        build(difference(structure), {"aa": -9.0, "zzz": -9.0})([Z, A])


def test_a_dict_for_one_image_is_refused_by_masks():
    with pytest.raises(TypeError, match=r"baseline: expected one array.*a dict with the keys 'x'"):
        tfxai.occlusion(small_cnn(), baseline={"x": 0.0})(np.ones((1, 8, 8, 3)))


def test_hessian_products_go_by_name():
    zz, aa = keras.Input((2,), name="zz"), keras.Input((2,), name="aa")
    logits = keras.ops.stack([keras.ops.sum(zz, -1), keras.ops.sum(3 * aa, -1)], -1)
    model = keras.Model([zz, aa], logits)
    x, v = {"aa": A, "zz": Z}, {"zz": np.ones_like(Z), "aa": np.zeros_like(A)}
    found = tfxai.hessian.hvp(model, x, v, 0)
    p = 1 / (1 + np.exp(3 * A.sum(1) - Z.sum(1)))
    curvature = (p * (1 - p))[:, None]
    np.testing.assert_allclose(found["zz"], 2 * curvature * np.ones_like(Z), rtol=1e-4)
    np.testing.assert_allclose(found["aa"], -6 * curvature * np.ones_like(A), rtol=1e-4)
    several = {k: np.stack([w, 2 * w]) for k, w in v.items()}
    np.testing.assert_allclose(
        tfxai.hessian.hvp(model, x, several, 0)["aa"][1], 2 * found["aa"], rtol=1e-4
    )
    with pytest.raises(TypeError, match=r"vectors: .*'zzz' is none of them"):
        tfxai.hessian.hvp(model, x, {"zzz": Z, "aa": A}, 0)
    vector = tfxai.hessian.max_eigenvalue(model, x, 0).vector
    assert set(vector) == {"zz", "aa"}
    np.testing.assert_allclose(np.abs(vector["aa"] / vector["zz"]), 3, rtol=1e-2)


@pytest.mark.parametrize(
    "structure", quick(["list", "dict", "sorted", "ordered"], "list", "ordered")
)
def test_an_ordered_dict_is_a_dict(structure, tmp_path):
    """`tf.nest` sorts its keys and Keras does not: inputs of unequal widths show who mixes them."""
    zz, aa = keras.Input((3,), name="zz"), keras.Input((2,), name="aa")
    declared = {
        "list": [zz, aa],
        "dict": {"zz": zz, "aa": aa},
        "sorted": {"aa": aa, "zz": zz},
        "ordered": OrderedDict(zz=zz, aa=aa),
    }[structure]
    outputs = L.Dense(3)(L.Concatenate()([L.Dense(4)(zz), L.Dense(4)(aa)]))
    model = keras.Model(declared, outputs)
    wide = RNG.normal(size=(3, 3)).astype("float32")
    explainer = tfxai.gradient_times_input(model)
    expected = explainer({"aa": A, "zz": wide}, 1)
    for given in (OrderedDict(zz=wide, aa=A), OrderedDict(aa=A, zz=wide), {"zz": wide, "aa": A}):
        record = explainer.explain(given, 1, verbose=0)
        for name, found in record.attributions.items():
            assert found.shape == given[name].shape
            np.testing.assert_allclose(found, expected[name], rtol=1e-5)
    with pytest.raises(
        ValueError, match=r"inputs\['zz'\] has shape \[3, 2\], expected \[batch, 3\]"
    ):
        explainer(OrderedDict(zz=A, aa=A))
    tfxai.export(model, tmp_path / "served", {"g": explainer})
    served = tf.saved_model.load(tmp_path / "served").signatures["explain_g"]
    names = {"list": ("0", "1")}.get(structure, ("zz", "aa"))
    arrays = {f"inputs_{n}": x for n, x in zip(names, (wide, A), strict=True)}
    asked = {"targets": tf.constant([1, 1, 1]), "seed": tf.constant(0)}
    found = served(**{n: tf.constant(x) for n, x in arrays.items()}, **asked)
    for place, name in zip(names, ("zz", "aa"), strict=True):
        np.testing.assert_allclose(found[f"attributions_{place}"], expected[name], rtol=1e-5)


def test_one_number_for_each_channel_by_name():
    model = difference("list")
    ends = {"zz": [0.1, 0.2], "aa": (0.0, -0.3)}
    arrays = {name: np.array(end) for name, end in ends.items()}
    path = {"steps": 5, "quadrature": tfxai.quadrature.midpoint}
    maps = [
        tfxai.integrated_gradients(model, baseline=b, **path)({"zz": Z, "aa": A}, 1)
        for b in (ends, arrays)
    ]
    np.testing.assert_array_equal(maps[0]["aa"], maps[1]["aa"])
    bounds = ({"zz": [-9, -8], "aa": -9}, {"zz": [9, 8], "aa": 9})
    assert tfxai.adaptgrad(model, bounds=bounds, samples=2)({"zz": Z, "aa": A}, 1)["zz"].shape
