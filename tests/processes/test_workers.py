"""Datasets explained by Ray's workers, some of which are killed."""

import threading
import time

import numpy as np
import psutil
import pytest
import ray
import tensorflow as tf
from PIL import Image

import tfxai
from tests.networks import pixel_model
from tests.test_serving import unit
from tfxai import scale
from tfxai.scale import images, shard_folder

COUNT, SHARD = 32, 4


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(3)
    for i in range(COUNT):
        pixels = random.integers(0, 256, (20, 20, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    (folder / "13.png").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """An explainer that needs a while for a shard."""
    model = pixel_model()
    explainers = {"rise": tfxai.rise(model, masks=8000)}
    path = tmp_path_factory.mktemp("served") / "model"
    return tfxai.export(model, path, explainers, inputs="bytes", preprocess=unit)


def workers():
    """Ray's processes that hold the model."""
    return [p for p in psutil.process_iter() if "MapWorker" in " ".join(p.cmdline())]


def kill_one_at_work(out, seen):
    """Kill a worker in the middle of a shard, after the first shard has been written."""
    while not seen["over"]:
        time.sleep(0.01)
        written, begun = list(out.glob("part-*")), list(out.glob(".part-*"))
        if written and begun:
            for process in workers():
                if any(file.path == str(begun[0]) for file in process.open_files()):
                    process.kill()
                    seen["killed"] = (process.pid, begun[0].name, len(written))
                    return


def test_a_killed_worker_and_a_corrupt_image_lose_nothing_else(served, photos, tmp_path):
    out = tmp_path / "out"
    seen = {"over": False}
    killer = threading.Thread(target=kill_one_at_work, args=(out, seen))
    killer.start()
    options = {"shard_size": SHARD, "batch_size": 2, "verbose": 0}
    try:
        told = scale.explain_dataset(served, photos, out, 2, **options)
    finally:
        seen["over"] = True
        killer.join()
    _, begun, written = seen["killed"]
    assert 0 < written < COUNT // SHARD
    assert told == (out, COUNT, 1, COUNT)
    found = list(scale.read(out))
    assert [row["path"] for row in found] == [str(photos / f"{i:02}.png") for i in range(COUNT)]
    assert [i for i, row in enumerate(found) if row["error"]] == [13]
    assert not list(out.glob(".part*"))
    # The shard that the worker died over is as if it had not.
    number = int(begun.split("-")[1].split(".")[0])
    row = found[number * SHARD]
    given = np.array([(photos / f"{number * SHARD:02}.png").read_bytes()])
    explain = tf.saved_model.load(served).signatures["explain_rise"]
    answer = explain(inputs=tf.constant(given), targets=tf.constant([-1]), seed=tf.constant(0))
    np.testing.assert_allclose(row["attributions"], answer["attributions"][0], atol=1e-5)

    # A second call has nothing to do; and where shards are missing it does these alone.
    rerun = scale.explain_dataset(served, photos, out, 2, **options)
    assert rerun.explained_now == 0
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("part*")}
    for number in (1, 5):
        shard_folder.shard_path(out, number).unlink()
    rerun = scale.explain_dataset(served, photos, out, 1, **options)
    assert rerun == (out, COUNT, 1, 2 * SHARD)
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("part*")}
    changed = [name for name in sorted(after) if after[name] != before[name]]
    assert changed == ["part-000001.parquet", "part-000005.parquet"]
    for one, other in zip(found, scale.read(out), strict=True):
        assert one["path"] == other["path"]
        assert one["error"] == other["error"]
        if not one["error"]:
            np.testing.assert_array_equal(one["attributions"], other["attributions"])
    with pytest.raises(ValueError, match="was begun with seed=0, not 1"):
        scale.explain_dataset(served, photos, out, seed=1, **options)
    files = [group.file for group in images.find(photos)[:3]]
    with pytest.raises(ValueError, match="was begun with images=32, not 3"):
        scale.explain_dataset(served, files, out, **options)


def test_more_workers_than_there_is_room_for(served, photos, tmp_path):
    """Ray would wait for ever."""
    options = {"shard_size": SHARD, "cpus_per_actor": 1.0}
    with pytest.raises(ValueError, match="num_actors=3: 2 workers of 1 CPUs and 0 GPUs fit"):
        scale.explain_dataset(served, photos, tmp_path / "out", 3, **options)
    with pytest.raises(ValueError, match="0 workers of 2 CPUs and 1 GPUs fit"):
        scale.explain_dataset(served, photos, tmp_path / "gpu", gpus_per_actor=1)
