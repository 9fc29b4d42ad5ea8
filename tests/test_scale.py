"""Datasets: what is read, explained and written; with Ray's workers in tests/processes."""

import functools
import importlib
import importlib.util
import resource

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

import tfxai
from tests.networks import pixel_model, two_inputs
from tests.test_serving import unit
from tests.thorough import quick
from tfxai import quadrature, scale
from tfxai.scale import arrow_table, dataset, images, ray_cluster, shard_folder
from tfxai.scale.worker import Job, Worker


def integrated_gradients(model):
    return tfxai.integrated_gradients(model, steps=5, quadrature=quadrature.midpoint)


def noise(count, size=(20, 20)):
    random = np.random.default_rng(4)
    return random.integers(0, 256, (count, *size, 3)).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def _loaded_once():
    """Workers of one process share what they load; each of Ray's has a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.saved_model, "load", functools.cache(tf.saved_model.load))
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Nine photos, of which one is cut off and one is no image."""
    folder = tmp_path_factory.mktemp("photos")
    for i, pixels in enumerate(noise(9)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    whole = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(whole[: len(whole) // 2])
    (folder / "6.png").write_text("no image")
    (folder / "notes.txt").write_text("no image either")
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """One model in three exports: of files, of pixels, and of tensors."""
    model = pixel_model()
    explainers = {
        "ig": integrated_gradients(model),
        "smooth": tfxai.smoothgrad(model, samples=4),
    }
    room = tmp_path_factory.mktemp("served")
    names = list("abcd")
    for kind in ("bytes", "uint8"):
        options = {"inputs": kind, "preprocess": unit, "class_names": names}
        tfxai.export(model, room / kind, explainers, **options)
        explainers = {"ig": explainers["ig"]}
    tfxai.export(model, room / "tensor", explainers, class_names=names)
    return room


def job_of(model, out, *, explainer="ig", also=(), dtype="float32", columns=("image",), batch=4):
    told = tfxai.serving.saved_model.metadata(model)
    signature = told["signatures"][f"explain_{explainer}"]
    return Job(
        model=str(model),
        explainer=explainer,
        input_kind=told["inputs"],
        seed=0,
        root=".",
        out=str(out),
        schema=arrow_table.schema(signature["outputs"], also, dtype).serialize().to_pybytes(),
        columns=list(columns),
        batch_size=batch,
        threads=None,
    )


def rows_of(model, source, out, *, targets=None, size=100, **options):
    """What a worker writes, by no more than the worker."""
    groups = images.find(source)
    count = sum(group.rows for group in groups)
    targets = np.full(count, -1) if targets is None else np.asarray(targets)
    out.mkdir()
    worker = Worker(job_of(model, out, **options))
    work = images.into_shards(groups, targets, size)
    shard_folder.begin_or_resume(out, {"shards": len(work)})
    for shard in work:
        assert worker(shard._asdict())["problem"] == ""
    return list(scale.read(out))


def test_rows_are_what_the_signature_gives(served, photos, tmp_path):
    found = rows_of(served / "bytes", photos, tmp_path / "out", batch=7)
    assert [row["path"] for row in found] == [str(photos / f"{i}.png") for i in range(9)]
    explain = tf.saved_model.load(served / "bytes").signatures["explain_ig"]
    for i, row in enumerate(found):
        if i in (3, 6):
            assert row["target"] is row["score"] is row["attributions"] is None
            continue
        given = tf.constant([(photos / f"{i}.png").read_bytes()])
        answer = explain(inputs=given, targets=tf.constant([-1]), seed=tf.constant(0))
        np.testing.assert_allclose(row["attributions"], answer["attributions"][0], atol=1e-6)
        assert row["target"] == answer["targets"][0]
        for name, key in (("score", "scores"), ("completeness_gap", "completeness_gap")):
            np.testing.assert_allclose(row[name], answer[key][0], atol=1e-5)
        assert row["error"] is None


def test_an_image_that_cannot_be_read_says_why_and_costs_no_other(served, photos, tmp_path):
    files = [photos / "0.png", photos / "nowhere.png", photos / "6.png", photos / "1.png"]
    for kind in ("bytes", "uint8"):
        found = rows_of(served / kind, files, tmp_path / kind)
        errors = [row["error"] for row in found]
        assert errors[0] is errors[3] is None
        assert errors[1] == "No such file or directory"
        assert errors[2].startswith("Unknown image file format")
        assert [row["attributions"] is None for row in found] == [False, True, True, False]


def test_a_target_that_is_none_is_an_error_of_its_row(served, photos, tmp_path):
    files = [photos / "0.png", photos / "1.png", photos / "2.png"]
    found = rows_of(served / "bytes", files, tmp_path / "out", targets=[1, 4, 3])
    assert [row["target"] for row in found] == [1, None, 3]
    assert "expected a class below" in found[1]["error"]


def test_files_are_decoded_alike_for_pixels_and_for_files(served, photos, tmp_path):
    by_file = rows_of(served / "bytes", photos, tmp_path / "bytes")
    by_pixels = rows_of(served / "uint8", photos, tmp_path / "uint8")
    for one, other in zip(by_file, by_pixels, strict=True):
        assert (one["error"] is None) == (other["error"] is None)
        if one["error"] is None:
            # Pixels are rounded to whole numbers.
            difference = np.abs(one["attributions"] - other["attributions"])
            assert difference.mean() < 0.1 * np.abs(one["attributions"]).mean()


def parquet_of(path, columns, group=4):
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def test_parquet_with_encoded_images(served, photos, tmp_path):
    """Bytes, or the struct of Hugging Face; nulls; targets of their own; row groups and shards."""
    files = [(photos / f"{i}.png").read_bytes() for i in range(9)]
    files[2] = None
    targets = pa.array([0, 1, 2, 3, None, 1, 2, 3, 0], pa.int64())
    structs = [None if f is None else {"bytes": f, "path": None} for f in files]
    for name, column in (("plain", pa.array(files)), ("struct", pa.array(structs))):
        path = parquet_of(tmp_path / f"{name}.parquet", {"image": column, "label": targets})
        options = {"columns": ("image", "label"), "size": 3}
        found = rows_of(served / "bytes", path, tmp_path / name, **options)
        assert [row["row"] for row in found] == list(range(9))
        assert found[2]["error"] == "nothing in the column 'image'"
        assert found[4]["error"] == "nothing in the column 'label'"
        assert [row["target"] for row in found] == [0, 1, None, None, None, 1, None, 3, 0]


def as_tensors(array):
    flat = pa.array(array.ravel())
    storage = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(array.shape[1:])))
    return pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(flat.type, array.shape[1:]), storage
    )


def test_parquet_with_arrays(served, tmp_path):
    """Tensors and nested lists, of pixels and of the model's numbers."""
    pixels = noise(5, (12, 16))
    values = pixels.astype(np.float32) / 255
    model = pixel_model()
    expected = integrated_gradients(model).explain(values, verbose=0)
    for kind, array in (("uint8", pixels), ("tensor", values)):
        for form in ("tensors", "lists"):
            column = as_tensors(array) if form == "tensors" else pa.array(array.tolist())
            path = parquet_of(tmp_path / f"{kind}_{form}.parquet", {"image": column})
            found = rows_of(served / kind, path, tmp_path / f"{kind}_{form}", size=2)
            maps = [row["attributions"] for row in found]
            np.testing.assert_allclose(maps, expected.attributions, atol=1e-6)


def test_arrays_that_do_not_fit_are_errors_of_their_rows(served, tmp_path):
    values = np.ones((3, 12 * 16 * 3), np.float32)
    values[1, 5] = np.nan
    rows = [*values.tolist(), [1.0, 2.0]]
    path = parquet_of(tmp_path / "a.parquet", {"image": rows})
    errors = [row["error"] for row in rows_of(served / "tensor", path, tmp_path / "out")]
    assert errors[0] is errors[2] is None
    assert errors[1] == "NaN or infinite values"
    assert errors[3] == "an array of 2 numbers, not of shape [12, 16, 3]"
    path = parquet_of(tmp_path / "b.parquet", {"image": (values * 300)[:1].tolist()})
    (row,) = rows_of(served / "uint8", path, tmp_path / "pixels")
    assert row["error"] == "numbers outside 0..255"


def test_float16_takes_half_and_keeps_eleven_bits(served, photos, tmp_path):
    whole = rows_of(served / "bytes", photos, tmp_path / "whole", explainer="smooth")
    options = {"explainer": "smooth", "also": ["standard_error"], "dtype": "float16"}
    half = rows_of(served / "bytes", photos, tmp_path / "half", **options)
    assert "standard_error" not in whole[0]
    assert half[0]["standard_error"].shape == (12, 16, 3)
    for one, other in zip(whole, half, strict=True):
        if one["error"] is None:
            atol = np.abs(one["attributions"]).max() * 2**-11
            np.testing.assert_allclose(other["attributions"], one["attributions"], atol=atol)
    stored = pyarrow.dataset.dataset(tmp_path / "half" / "part-000000.parquet").to_table()
    arrays = stored.filter(stored["error"].is_null())["attributions"].combine_chunks()
    assert arrays.to_numpy_ndarray().dtype == np.float16
    assert arrays.to_numpy_ndarray().shape == (7, 12, 16, 3)


@pytest.mark.parametrize("size", [1e-30, 1e-6, 1.0, 1e6, 3e38, 0.0])
def test_halved_never_overflows_nor_vanishes(size):
    values = (np.random.default_rng(0).normal(size=1000) * size / 5).astype(np.float32)
    half, factor = arrow_table.to_float16(values)
    assert half.dtype == np.float16
    assert np.frexp(factor)[0] == 0.5
    back = half.astype(np.float32) * np.float32(factor)
    np.testing.assert_allclose(back, values, rtol=0, atol=np.abs(values).max() * 2**-11)


@pytest.mark.parametrize(("size", "batch"), quick([(1, 1), (4, 3)], (4, 3)))
def test_the_cut_changes_nothing(size, batch, served, photos, tmp_path):
    """Shards and batches; random numbers are those of the seed alone."""
    options = {"explainer": "smooth"}
    expected = rows_of(served / "bytes", photos, tmp_path / "whole", batch=9, **options)
    found = rows_of(served / "bytes", photos, tmp_path / "cut", size=size, batch=batch, **options)
    assert [row["path"] for row in found] == [row["path"] for row in expected]
    for one, other in zip(expected, found, strict=True):
        assert one["error"] == other["error"]
        if one["error"] is None:
            np.testing.assert_allclose(one["attributions"], other["attributions"], atol=1e-6)


def test_shards_have_every_row_once(tmp_path):
    for name, count in (("a", 7), ("b", 3)):
        parquet_of(tmp_path / f"{name}.parquet", {"n": list(range(count))}, group=4)
    groups = images.find(tmp_path)
    assert [group[1:] for group in groups] == [(0, 0, 4), (1, 4, 3), (0, 0, 3)]
    work = images.into_shards(groups, np.arange(10), 3)
    assert [shard.targets for shard in work] == [[0, 1, 2], [3], [4, 5, 6], [7, 8, 9]]
    assert [(s.group, s.first, s.skip) for s in work] == [
        (0, 0, 0),
        (0, 0, 3),
        (1, 4, 0),
        (0, 0, 0),
    ]
    assert [shard.number for shard in work] == [0, 1, 2, 3]


def test_a_folder_is_searched_to_its_depth(photos, tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    for path in ("z.JPG", "b/a.png", "b/c/x.gif", ".hidden.png", "b/note.txt"):
        (tmp_path / path).write_bytes(b"")
    found = [group.file.removeprefix(f"{tmp_path}/") for group in images.find(tmp_path)]
    assert found == ["b/a.png", "b/c/x.gif", "z.JPG"]


def test_a_full_disk_leaves_no_shard(served, photos, tmp_path):
    """As the operating system tells it; what was written before is whole."""
    groups = images.find(photos)
    work = images.into_shards(groups, np.full(9, -1), 5)
    worker = Worker(job_of(served / "bytes", tmp_path))
    assert worker(work[0]._asdict())["problem"] == ""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        told = worker(work[1]._asdict())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "OSError" in told["problem"]
    assert [path.name for path in tmp_path.iterdir()] == ["part-000000.parquet"]
    assert pq.read_table(tmp_path / "part-000000.parquet").num_rows == 5


def test_a_shard_over_which_workers_die_is_given_up(served, photos, tmp_path):
    shard = images.into_shards(images.find(photos), np.full(9, -1), 9)[0]
    for attempt in range(shard_folder.ATTEMPTS):
        (tmp_path / f".part-000000.{attempt}").touch()
    told = Worker(job_of(served / "bytes", tmp_path))(shard._asdict())
    assert told["given_up"]
    assert not list(tmp_path.glob("part*"))
    progress = tf.keras.utils.Progbar(9, verbose=0)
    assert list(dataset._given_up(iter([told, {**told, "given_up": False, "problem": ""}]),
                                  progress)) == [0]  # fmt: skip
    with pytest.raises(RuntimeError, match=r"shard 0 is not written: OSError: full.*call again"):
        list(dataset._given_up(iter([{**told, "given_up": False, "problem": "OSError: full"}]),
                               progress))  # fmt: skip


def test_what_others_have_written_is_not_done_again(served, photos, tmp_path):
    shard = images.into_shards(images.find(photos), np.full(9, -1), 9)[0]
    path = shard_folder.shard_path(tmp_path, 0)
    path.write_text("by another worker")
    assert Worker(job_of(served / "bytes", tmp_path))(shard._asdict())["problem"] == ""
    assert path.read_text() == "by another worker"
    with pytest.raises(ValueError, match=r"part-000000.parquet is damaged; delete it"):
        shard_folder.missing_shards(tmp_path, [shard])


def test_a_folder_goes_on_with_what_was_begun(tmp_path):
    shard_folder.begin_or_resume(tmp_path, {"seed": 0, "shards": 2})
    (tmp_path / ".part-000001.0").touch()
    shard_folder.begin_or_resume(tmp_path, {"seed": 0, "shards": 2})
    assert not list(tmp_path.glob(".part*"))
    with pytest.raises(ValueError, match="was begun with seed=0, not 1: use another folder"):
        shard_folder.begin_or_resume(tmp_path, {"seed": 1, "shards": 2})
    with pytest.raises(ValueError, match="2 of 2 shards are not there; call explain_dataset again"):
        next(scale.read(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"has other files, such as thesis.tex"):
        shard_folder.begin_or_resume(other, {})


def test_bad_input(served, photos, tmp_path):
    model, out = served / "bytes", tmp_path / "out"

    def refused(match, *, error=ValueError, model=model, source=photos, out=out, **options):
        with pytest.raises(error, match=match):
            scale.explain_dataset(model, source, out, **{"explainer": "ig", **options})

    refused("is no model that tfxai exported", model=photos)
    refused("explainer=None: the model has ig, smooth; choose one", explainer=None)
    refused("explainer='igg'", explainer="igg")
    refused("num_actors=0", num_actors=0)
    refused("batch_size=0", batch_size=0)
    refused("shard_size=0", shard_size=0)
    refused("seed=2147483648: expected an integer of 32 bits", seed=2**31)
    refused("dtype='float8'", dtype="float8")
    refused("also='error'", also=["error"], explainer="smooth")
    refused("there is no such folder", source=tmp_path / "nowhere")
    refused("no image and no Parquet file", source=served)
    refused("target_column='label' is for Parquet", target_column="label")
    refused("targets.*4", targets=4)
    refused("no class is called 'e'", targets="e")
    refused("targets", targets=[0, 1])
    refused("lies within images=", out=photos / "out")
    refused("export it with inputs='bytes'", model=served / "tensor")
    (tmp_path / "file").touch()
    refused("Not a directory", out=tmp_path / "file" / "out")
    path = parquet_of(tmp_path / "a.parquet", {"x": [b"a"], "f": [0.5], "image": [[1.0]]})
    refused("has no column 'y'; it has x, f, image", source=path, column="y")
    refused("target_column='f' is no column of integers", source=path, column="x",
            target_column="f")  # fmt: skip
    refused("takes encoded images, the column 'image'", source=path)
    refused("takes encoded images, the column 'f'", source=path, column="f")
    refused("takes arrays of numbers, the column 'x'", source=path, column="x",
            model=served / "tensor")  # fmt: skip
    refused("both image and Parquet", source=[path, photos / "1.png"])
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "empty.parquet")
    refused("no rows", source=tmp_path / "empty.parquet")
    (tmp_path / "bad.parquet").write_text("half")
    refused("bad.parquet is no Parquet file", source=tmp_path / "bad.parquet", error=OSError)
    two = two_inputs()
    tfxai.export(two, tmp_path / "two", {"ig": tfxai.gradient(two)})
    refused("only models of one input", model=tmp_path / "two")
    assert not out.exists()
    with pytest.raises(ValueError, match="nowhere has no explanations of a dataset"):
        next(scale.read("nowhere"))


def test_another_model_is_another_dataset(cnn, tmp_path):
    paths = []
    for name in ("one", "other"):
        paths.append(tfxai.export(cnn, tmp_path / name, {"g": tfxai.gradient(cnn)}))
        cnn.set_weights([w + 1 for w in cnn.get_weights()])
    one, other = (dataset._fingerprint(path) for path in paths)
    assert one == dataset._fingerprint(paths[0]) != other


def test_missing_packages_come_with_the_pip_command(served, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tfxai\[ray\]'"):
        importlib.reload(scale)
    with pytest.raises(ModuleNotFoundError, match=r"Ray: pip install 'tfxai\[ray\]'"):
        scale.explain_dataset(served / "bytes", photos, tmp_path / "out", explainer="ig")


def test_workers_get_even_shares():
    assert ray_cluster.even_share([8], 2) == 4
    assert ray_cluster.even_share([3, 3], 3) == 1  # 2 for each would fit on paper only
    assert ray_cluster.even_share([2], 2) == 1
    assert ray_cluster.even_share([2], 5) == 1 / 3
    assert ray_cluster.even_share([4, 4], 1) == 4
