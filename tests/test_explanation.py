"""The record of an explanation: saving, loading and showing."""

import json
import zipfile

import keras
import numpy as np
import pytest

from tfxai.explaining.explanation import Explanation, join

RNG = np.random.default_rng(0)


def noise(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def record(**changes):
    fields = {
        "attributions": noise(2, 4, 4, 3),
        "targets": np.array([1, 0], np.int32),
        "scores": np.array([2.5, -0.125], np.float32),
        "seed": 7,
        "settings": {"method": "smoothgrad", "samples": 5, "base": {"method": "gradient"}},
        "head": "softmax",
        "versions": {"tfxai": "0.1.0"},
        "diagnostics": {"map_error": np.array([0.5, 0.25]), "steps": np.array([9, 64], np.int32)},
        "names": ("cat", "größter Hund"),
        "inputs": noise(2, 4, 4, 3),
    }
    return Explanation(**fields | changes)


STRUCTURES = {
    "tensor": noise(2, 4, 4, 3),
    "dict": {"photo": noise(2, 4, 4, 3), "a/b.c": noise(2, 5)},
    "tuple": (noise(2, 4), noise(2, 3, 2)),
    "list": [noise(2, 4), noise(2, 3, 2)],
    "one in a tuple": (noise(2, 4),),
    "called tuple": {"tuple": noise(2, 4)},
    "nested": {"left": (noise(2, 3), [noise(2, 1)]), "right": {"deep": noise(2, 2)}},
    "float64": noise(2, 3).astype(np.float64),
}


def assert_same(actual, expected):
    """Check values, types and structure."""
    keras.tree.assert_same_structure(actual, expected)
    flat = zip(keras.tree.flatten(actual), keras.tree.flatten(expected), strict=True)
    for one, other in flat:
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", STRUCTURES)
def test_what_is_saved_is_loaded(kind, tmp_path):
    values = STRUCTURES[kind]
    diagnostics = {"standard_error": values, "map_error": np.array([0.5, np.nan])}
    saved = record(attributions=values, diagnostics=diagnostics)
    path = saved.save(tmp_path / "map.npz")
    loaded = Explanation.load(path)
    assert path == tmp_path / "map.npz"
    for name in ("attributions", "diagnostics", "targets", "scores"):
        assert_same(getattr(loaded, name), getattr(saved, name))
    for name in ("seed", "settings", "head", "versions", "names"):
        assert getattr(loaded, name) == getattr(saved, name)
    assert loaded.inputs is None


def test_what_is_not_known_stays_so(tmp_path):
    loaded = Explanation.load(
        record(head=None, names=None, diagnostics={}).save(tmp_path / "map.npz")
    )
    assert (loaded.head, loaded.names, loaded.diagnostics) == (None, None, {})


def test_a_path_may_be_text_and_is_kept_as_given(tmp_path):
    path = record().save(str(tmp_path / "no suffix"))
    assert path == tmp_path / "no suffix"
    assert Explanation.load(str(path)).seed == 7


def test_saving_again_replaces_the_file(tmp_path):
    record(diagnostics={"map_error": np.zeros(2)}).save(tmp_path / "map.npz")
    loaded = Explanation.load(record(seed=8, diagnostics={}).save(tmp_path / "map.npz"))
    assert (loaded.seed, loaded.diagnostics) == (8, {})


def test_the_file_holds_plain_arrays_and_text(tmp_path):
    path = record().save(tmp_path / "map.npz")
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name != "record.json"}
    assert set(arrays) == {
        "attributions",
        "targets",
        "scores",
        "diagnostics.map_error",
        "diagnostics.steps",
    }
    assert not any(array.dtype.hasobject for array in arrays.values())
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("record.json"))["names"] == ["cat", "größter Hund"]


def test_objects_are_not_pickled_into_the_file(tmp_path):
    with pytest.raises(ValueError, match="only arrays of numbers"):
        record(attributions=np.array([{}, {}])).save(tmp_path / "map.npz")


def other_npz(path):
    np.savez(path, targets=np.ones(2))


def other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("record.json", "{}")


def without_scores(path):
    record().save(path)
    with zipfile.ZipFile(path) as archive:
        kept = {n: archive.read(n) for n in archive.namelist() if n != "scores.npy"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in kept.items():
            archive.writestr(name, content)


def with_record(text):
    def write(path):
        np.savez(path, targets=np.ones(2), scores=np.ones(2))
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("record.json", text)

    return write


def cut(path):
    path.write_bytes(record().save(path).read_bytes()[:-100])


def damaged(path):
    content = bytearray(record().save(path).read_bytes())
    content[60:160] = b"\xff" * 100
    path.write_bytes(content)


NOT_EXPLANATIONS = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello"),
    "other npz": other_npz,
    "other zip": other_zip,
    "without scores": without_scores,
    "record of text": with_record("not JSON"),
    "record of a list": with_record("[]"),
    "record of nothing": with_record("null"),
    "layout of a number": with_record('{"layout": 5, "names": null}'),
    "record without seed": with_record(
        '{"layout": {"attributions": "targets", "diagnostics": {}}, "names": null}'
    ),
    "cut": cut,
    "damaged": damaged,
}


@pytest.mark.parametrize("kind", NOT_EXPLANATIONS)
def test_a_file_that_is_no_explanation_is_refused_by_name(kind, tmp_path):
    path = tmp_path / "map.npz"
    NOT_EXPLANATIONS[kind](path)
    with pytest.raises(ValueError, match=r"map\.npz is not an explanation"):
        Explanation.load(path)


def test_a_missing_file_is_reported_as_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        Explanation.load(tmp_path / "nothing.npz")


def test_targets_have_names_or_are_numbers():
    assert record().target_names == ["größter Hund", "cat"]
    assert record(names=None).target_names == ["1", "0"]


def test_the_text_tells_method_targets_scores_head_and_numbers():
    assert repr(record()).splitlines() == [
        "Explanation by smoothgrad of 2 examples",
        "  targets größter Hund, cat, scores 2.5, -0.125",
        "  the softmax head was bypassed",
        "  map_error 0.5, 0.25",
        "  steps 9, 64",
    ]


def test_the_text_stays_short():
    many = record(
        attributions=noise(100, 4),
        targets=np.zeros(100, np.int32),
        scores=np.zeros(100, np.float32),
        diagnostics={"standard_error": noise(100, 4), "of inputs": {"a": noise(100)}},
        head=None,
    )
    assert repr(many).splitlines() == [
        "Explanation by smoothgrad of 100 examples",
        "  targets cat, cat, cat, cat, ..., scores 0, 0, 0, 0, ...",
    ]


@pytest.mark.parametrize("kind", [kind for kind in STRUCTURES if kind != "nested"])
def test_a_notebook_shows_a_png(kind, tmp_path):
    values = STRUCTURES[kind]
    shown = record(attributions=values, inputs=values)
    assert shown._repr_png_().startswith(b"\x89PNG\r\n\x1a\n")
    loaded = Explanation.load(shown.save(tmp_path / "map.npz"))
    assert loaded._repr_png_().startswith(b"\x89PNG\r\n\x1a\n")


def test_explanations_are_joined_along_the_batch():
    maps = [{"a": noise(n, 3), "b": noise(n, 2, 2)} for n in (2, 1)]
    parts = [
        record(
            attributions=m,
            inputs=m,
            targets=np.full(len(m["a"]), i, np.int32),
            scores=np.full(len(m["a"]), i, np.float32),
            diagnostics={"map_error": np.full(len(m["a"]), i, np.float32)},
        )
        for i, m in enumerate(maps)
    ]
    joined = join(parts)
    assert joined.targets.tolist() == joined.scores.tolist() == [0, 0, 1]
    assert joined.diagnostics["map_error"].tolist() == [0, 0, 1]
    assert_same(joined.attributions, {k: np.concatenate([m[k] for m in maps]) for k in maps[0]})
    assert_same(joined.inputs, joined.attributions)
    assert (joined.seed, joined.names) == (7, parts[0].names)
