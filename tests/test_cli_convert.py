"""The command line with ONNX files."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import tfxai
from tests.onnx_models import normal, one
from tfxai.cli.models import DEVIATION, MEAN

FOLDER = Path(__file__).parent / "onnx_files"


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path):
    """A folder to work in."""
    monkeypatch.chdir(tmp_path)


def test_convert_writes_a_model_and_its_certificate(run):
    source = FOLDER / "mobilenet_v3_legacy.onnx"
    code, out, err = run("convert", source, "net.keras", "--samples", 3, "--seed", 1)
    assert (code, err) == (0, "")
    assert "holds" in out
    assert "wrote net.keras and net.json" in out
    certificate = json.loads(Path("net.json").read_text())
    assert certificate["holds"]
    assert certificate["samples"] == 3
    assert certificate["operations"]["Conv"] > 30
    found = keras.saving.load_model("net.keras")
    expected = tfxai.converters.from_onnx(source)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    np.testing.assert_array_equal(found(images), expected(images))


def test_a_model_that_differs_is_not_written(run, monkeypatch):
    monkeypatch.setattr("tfxai.converters.certificate.OUTPUT_TOLERANCE", 0.0)
    source = FOLDER / "resnet18_legacy.onnx"
    code, out, err = run("convert", source, "net.keras", "--samples", 2)
    assert code == 1
    assert "NO" in out
    assert "net.keras is not written" in err
    assert not list(Path().iterdir())


def test_open_sizes_are_given(run):
    model = one("Conv", {"x": [None, 3, None, None]}, {"w": normal(4, 3, 3, 3)})
    Path("open.onnx").write_bytes(model.SerializeToString())
    code, _, err = run("convert", "open.onnx", "net.keras")
    assert code == 2
    assert "pass input_shape=" in err
    assert run("convert", "open.onnx", "net.keras", "--input-shape", "3,9,8")[0] == 0
    assert keras.saving.load_model("net.keras").input_shape == (None, 9, 8, 3)


def test_pictures_are_explained_by_an_onnx_file_as_by_its_model(run):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save("one.png")
    source = FOLDER / "vgg16_legacy.onnx"
    command = ("explain", source, "one.png", "--method", "gradient", "--preprocess", "imagenet")
    assert run(*command)[0] == 0
    record = np.load("explanations/one.npz")
    inputs = ((pixels / 255 - MEAN) / DEVIATION)[None].astype("float32")
    expected = tfxai.gradient(tfxai.converters.from_onnx(source)).explain(inputs, verbose=0)
    np.testing.assert_allclose(record["attributions"], expected.attributions, rtol=1e-3, atol=1e-6)


MISTAKES = {
    "no such file": (["nowhere.onnx", "net.keras"], "no such file: nowhere.onnx"),
    "no model": (["text.onnx", "net.keras"], "text.onnx is not an ONNX file"),
    "another ending": (["{net}", "net.h5"], "TARGET net.h5: expected a name that ends with .keras"),
    "no such folder": (["{net}", "nowhere/net.keras"], "no such folder"),
    "no sizes": (["{net}", "net.keras", "--input-shape", "3x8"], "expected sizes as in 3,224,224"),
    "other sizes": (["{net}", "net.keras", "--input-shape", "3,8,8"], r"input_shape=(3, 8, 8)"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_one_line(mistake, run):
    arguments, message = MISTAKES[mistake]
    Path("text.onnx").write_text("no model at all")
    net = FOLDER / "resnet18_legacy.onnx"
    code, _, err = run("convert", *(a.format(net=net) for a in arguments))
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not Path("net.keras").exists()


def test_colours_are_not_for_grey_models(run):
    model = one("Conv", {"x": [None, 1, 9, 8]}, {"w": normal(4, 1, 3, 3)})
    Path("grey.onnx").write_bytes(model.SerializeToString())
    Image.fromarray(np.zeros((9, 8), np.uint8)).save("one.png")
    code, _, err = run("explain", "grey.onnx", "one.png", "--preprocess", "imagenet")
    assert code == 2
    assert "--preprocess imagenet is for colours" in err
