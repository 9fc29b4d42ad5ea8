"""``tfxai benchmark``: what it writes, and one line for each mistake of its user."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfxai
from tfxai.benchmark import Results

L = keras.layers
NAMES = ("one", "two", "three", "four", "five")
QUICK = ("--methods", "gradient,random_attribution", "--metrics", "deletion,gini")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    keras.utils.set_random_seed(0)
    layers = [L.Rescaling(1 / 255), L.Conv2D(4, 3, activation="relu", name="conv2d")]
    layers += [L.GlobalAveragePooling2D(), L.Dense(4, "softmax")]
    path = tmp_path_factory.mktemp("models") / "cnn.keras"
    keras.Sequential([keras.Input((24, 32, 3)), *layers]).save(path)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with pictures, each of a colour and noise."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in NAMES:
        colour = random.integers(0, 200, 3)
        pixels = colour + random.integers(0, 56, (40, 50, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(f"photos/{name}.png")
    return tmp_path


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_is_ranked(model, here, run):
    code, out, _ = run("benchmark", model, "photos", *QUICK, "--out", "results")
    assert code == 0
    for text in ("deletion ↓", "gini ↑", "gradient", "random_attribution", "report.html"):
        assert text in out
    results = Results.load("results")
    assert results.images == [f"photos/{n}.png" for n in sorted(NAMES)]
    summary = rows("results/summary.csv")
    assert {row["method"] for row in summary} == {"gradient", "random_attribution"}
    html = (here / "results" / "report.html").read_text()
    assert "data:image/png;base64," in html
    before = (here / "results" / "values.csv").read_bytes()
    more = ("--methods", "gradient,grad_cam", "--metrics", "gini")
    code, out, _ = run("benchmark", model, "photos", *more, "--out", "results")
    assert code == 0
    assert "grad_cam" in out
    rerun = rows("results/values.csv")
    kept = [r for r in rerun if r["method"] == "gradient"]
    assert [r["gini"] for r in kept] == [
        r["gini"] for r in csv.DictReader(before.decode().splitlines()) if r["method"] == "gradient"
    ]


def test_options_of_methods_and_metrics(model, here, run):
    given = ["--option", "smoothgrad.samples=3", "--option", "deletion.substrate=mean"]
    code, _, _ = run(
        "benchmark", model, "photos", "--methods", "smoothgrad", "--metrics", "deletion", *given
    )
    assert code == 0
    settings = Results.load("benchmark").settings
    assert settings["methods"]["smoothgrad"]["samples"] == 3
    assert settings["metrics"]["deletion"]["substrate"] == "mean"
    assert settings["bounds"] == [0.0, 255.0]


def test_labels_are_what_is_explained(model, here, run):
    lines = [f"{name}.png,{i % 4}" for i, name in enumerate(NAMES)]
    (here / "labels.csv").write_text("\n".join(lines))
    code, _, _ = run("benchmark", model, "photos", *QUICK, "--labels", "labels.csv")
    assert code == 0
    found = {row["image"]: int(row["target"]) for row in rows("benchmark/values.csv")}
    assert found == {f"photos/{name}.png": i % 4 for i, name in enumerate(NAMES)}


def test_regions_are_cut_as_the_photos(model, here, run):
    (here / "masks").mkdir()
    for name in NAMES:
        mask = np.zeros((40, 50), np.uint8)
        mask[:, :25] = 255
        Image.fromarray(mask).save(f"masks/{name}.png")
    metrics = ("--methods", "gradient", "--metrics", "pointing_game,mass_share")
    options = ["--option", "pointing_game.tolerance=0", "--sign", "absolute"]
    code, _, _ = run("benchmark", model, "photos", *metrics, "--regions", "masks", *options)
    assert code == 0
    shares = Results.load("benchmark").values("mass_share")["gradient"]
    assert ((shares > 0.4) & (shares < 0.6)).all()
    Image.fromarray(np.zeros((4, 5), np.uint8)).save("masks/one.png")
    code, _, err = run(
        "benchmark", model, "photos", *metrics, "--regions", "masks", "--out", "other"
    )
    assert code == 1
    assert "its mask is of (5, 4)" in " ".join(err.split())


def test_compositions_of_the_photos(model, here, run):
    (here / "labels.csv").write_text("\n".join(f"{n}.png,{i % 4}" for i, n in enumerate(NAMES)))
    metrics = ("--methods", "gradient", "--metrics", "mass_share", "--labels", "labels.csv")
    code, _, _ = run("benchmark", model, "photos", *metrics, "--compositions", 2)
    assert code == 0
    assert Results.load("benchmark").images == [f"composition {i}" for i in range(5)]


def test_broken_images_are_named_and_the_rest_is_ranked(model, here, run):
    (here / "photos" / "two.png").write_bytes(b"no picture")
    code, out, err = run("benchmark", model, "photos", *QUICK)
    assert code == 1
    assert "two.png: not a readable image" in " ".join(err.split())
    assert "1 images and 0 cells have no result" in err
    assert "report.html" in out
    assert len(Results.load("benchmark").images) == 4


def test_pattern_methods_take_patterns(model, here, run):
    pixels = np.random.default_rng(0).uniform(0, 255, (40, 24, 32, 3))
    loaded = keras.saving.load_model(model)
    tfxai.fit_patterns(loaded, pixels, verbose=0).save("patterns.npz")
    methods = ("--methods", "gradient,pattern_attribution", "--metrics", "gini,invariance")
    code, out, _ = run("benchmark", model, "photos", *methods, "--patterns", "patterns.npz")
    assert code == 0
    assert "pattern_attribution" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "IMAGES nowhere: no such file or folder"),
        (["photos", "--methods", "gradients"], "--method gradients: expected one of"),
        (["photos", "--methods", ","], "--methods: none given"),
        (["photos", "--methods", "gradient,gradient"], "--methods: gradient is there twice"),
        (["photos", "--metrics", "delition"], "--metrics delition: expected some of"),
        (["photos", "--option", "steps=3"], "--option steps=3: expected NAME.key=value"),
        (["photos", "--option", "gini.x=3"], "gini takes no options"),
        (["photos", "--option", "smoothgrad.samples=0"], "samples=0"),
        (["photos", "--metrics", "pointing_game"], "needs images whose class's place is known"),
        (["photos", "--methods", "pattern_net"], "needs --patterns FILE"),
        (["photos", "--labels", "none.csv"], "--labels none.csv"),
        (["photos", "--labels", "few.csv"], "4 images have none, such as five.png"),
        (["photos", "--labels", "many.csv"], "there is no image six.png"),
        (["photos", "--labels", "wrong.csv"], "7 is out of range"),
        (["photos", "--labels", "broken.csv"], "expected lines of a file name, a comma"),
        (["photos", "--regions", "photos", "--compositions", "2"], "have their own"),
        (["photos", "--regions", "empty"], "has no five.png, the mask of"),
        (["photos", "--compositions", "3"], "needs 9 different ones"),
        (["photos", "--sign", "both"], "sign='both'"),
        (["photos", "--batch-size", "0"], "batch_size=0"),
        (["photos", "--out", "few.csv"], "few.csv"),
    ],
)
def test_mistakes(arguments, message, model, here, run):
    (here / "few.csv").write_text("one.png,1")
    (here / "many.csv").write_text("\n".join(f"{n}.png,1" for n in (*NAMES, "six")))
    (here / "wrong.csv").write_text("\n".join(f"{n}.png,7" for n in NAMES))
    (here / "broken.csv").write_text("one.png")
    (here / "empty").mkdir()
    code, _, err = run("benchmark", model, *arguments)
    assert code == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err


def test_export_writes_what_explains(model, here, run):
    methods = ("--methods", "gradient,smoothgrad", "--option", "smoothgrad.samples=3")
    code, out, err = run("export", model, "served/model", *methods, "--inputs", "bytes")
    assert (code, err) == (0, "")
    assert "explain_smoothgrad: largest difference from here 0" in out
    loaded = tf.saved_model.load("served/model")
    images = tf.constant([(here / "photos" / f"{name}.png").read_bytes() for name in NAMES])
    answer = loaded.signatures["explain_gradient"](
        inputs=images, targets=tf.fill([5], -1), seed=tf.constant(0)
    )
    assert answer["attributions"].shape == (5, 24, 32, 3)
    code, _, err = run("export", model, "served/model", *methods)
    assert code == 2
    assert "exists already" in err
    code, _, err = run("export", model, "other", "--inputs", "jpeg")
    assert code == 2
    assert "inputs='jpeg'" in err
    code, _, err = run("export", model, "other", "--methods", "nothing")
    assert code == 2
    assert "--method nothing: expected one of" in err
