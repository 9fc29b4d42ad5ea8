"""Inputs go by their names, whatever order a structure has; what has another name is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tfxai.named_inputs import arranged, as_given

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


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("names", [("zz", "aa"), ("aa", "zz")])
def test_a_dict_is_matched_by_name(structure, names, tmp_path):
    given = {name: {"zz": Z, "aa": A}[name] for name in names}
    explainer = tfxai.gradient(difference(structure))
    record = explainer.explain(given, 1, verbose=0)
    assert_true(explainer(given, 1))
    assert_true(record.attributions)
    assert list(record.attributions) == list(names)
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
    assert arranged(given, declared) == ["C", {"left": "B", "far": ("A",)}]
    assert as_given(["c", {"left": "b", "far": ("a",)}], given, declared) == (
        "c",
        {"far": ["a"], "left": "b"},
    )
    with pytest.raises(TypeError, match=r"inputs\[1\]: .*'lift' is none of them, perhaps 'left'"):
        arranged(["C", {"lift": "B", "far": ["A"]}], declared)


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
