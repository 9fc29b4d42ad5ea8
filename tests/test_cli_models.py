"""The model of a command: what it is shown photos as, and files that are no such model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfxai
from tests.onnx_models import normal, one
from tfxai.benchmark import Results
from tfxai.cli import models
from tfxai.explaining.explanation import Explanation
from tfxai.serving import saved_model

L = keras.layers
QUICK = ("--method", "gradient")
SIZE = (16, 16, 3)


@keras.saving.register_keras_serializable("here")
class Unknown(L.Layer):
    """A layer that is forgotten again."""

    def call(self, inputs):
        return 2.0 * inputs


def tail():
    return [L.Conv2D(4, 3, activation="relu"), L.GlobalAveragePooling2D(), L.Dense(4, "softmax")]


def sequential(*layers):
    return keras.Sequential([keras.Input(SIZE), *layers])


def functional(*layers):
    inputs = keras.Input(SIZE)
    x = inputs
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def adapted(high):
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(0).uniform(0, high, (50, *SIZE)))
    return layer


def branches(first, second):
    inputs = keras.Input(SIZE)
    joined = L.Concatenate()([first(inputs), second(inputs)])
    return keras.Model(inputs, keras.Sequential(tail())(joined))


def reused():
    """A convolution that reads the input, and the rescaled input too."""
    inputs, convolution = keras.Input(SIZE), L.Conv2D(3, 1)
    joined = L.Add()([convolution(L.Rescaling(1 / 255)(inputs)), convolution(inputs)])
    return keras.Model(inputs, keras.Sequential(tail())(joined))


TAKING_PIXELS = {
    "sequential": lambda: sequential(L.Rescaling(1 / 255), *tail()),
    "functional": lambda: functional(L.Rescaling(1 / 127.5, -1.0), *tail()),
    "normalised": lambda: functional(adapted(255), *tail()),
    "in two steps": lambda: sequential(L.Rescaling(1 / 255), adapted(1), *tail()),
    "nested": lambda: functional(sequential(L.Rescaling(1 / 255)), *tail()),
    "nested twice": lambda: sequential(functional(sequential(L.Rescaling(1 / 255), *tail()))),
    "augmented": lambda: sequential(L.RandomFlip(), L.Rescaling(1 / 255), *tail()),
    "augmented by a model": lambda: functional(
        sequential(L.RandomFlip(), L.RandomRotation(0.1)), L.Rescaling(1 / 255), *tail()
    ),
    "resized": lambda: functional(L.Resizing(8, 8), L.Rescaling(1 / 255), *tail()),
    "two branches": lambda: branches(L.Rescaling(1 / 255), L.Rescaling(1 / 128)),
}
SILENT = {
    "sequential": lambda: sequential(*tail()),
    "functional": lambda: functional(*tail()),
    "nested": lambda: functional(sequential(*tail())),
    "augmented": lambda: sequential(L.RandomFlip(), *tail()),
    "takes 0..1": lambda: sequential(L.Rescaling(2.0, -1.0), *tail()),
    "normalised from 0..1": lambda: sequential(adapted(1), *tail()),
    "batch normalised": lambda: sequential(L.BatchNormalization(), *tail()),
    "rescaled behind a convolution": lambda: sequential(
        L.Conv2D(3, 1), L.Rescaling(1 / 255), *tail()
    ),
    "one branch of two": lambda: branches(L.Rescaling(1 / 255), L.Conv2D(3, 1)),
    "a shared convolution": reused,
    "an operation": lambda: functional(lambda x: x / 255.0, *tail()),
}


def saved(model):
    model.save("net.keras")
    return keras.saving.load_model("net.keras")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """A folder to work in, with a photo."""
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    Image.fromarray(pixels).save("one.png")


@pytest.mark.parametrize("kind", TAKING_PIXELS)
def test_a_layer_that_takes_pixels_is_found(kind):
    assert models.layer_that_takes_pixels(saved(TAKING_PIXELS[kind]())) is not None


@pytest.mark.parametrize("kind", SILENT)
def test_a_model_without_such_a_layer_says_nothing(kind):
    assert models.layer_that_takes_pixels(saved(SILENT[kind]())) is None


@pytest.mark.parametrize(
    "command",
    [("explain", "net.keras", "one.png"), ("benchmark", "net.keras", "."), ("export", "net.keras",
     "served")],
)  # fmt: skip
def test_a_model_that_says_nothing_needs_the_users_word(command, run):
    """Shown raw pixels, a model of 0..1 explains what it never saw."""
    saved(sequential(*tail()))
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    assert err.startswith("tfxai: --preprocess: net.keras has no Rescaling or Normalization")
    for name in models.PIXEL_RANGES:
        assert f"{name} (" in err
    assert err.count("\n") == 1


def test_an_onnx_file_needs_the_users_word(run):
    model = one("Conv", {"x": [None, 3, 8, 8]}, {"w": normal(4, 3, 3, 3)})
    with open("net.onnx", "wb") as file:
        file.write(model.SerializeToString())
    code, _, err = run("explain", "net.onnx", "one.png", *QUICK)
    assert code == 2
    assert "tfxai: --preprocess: net.onnx has no Rescaling" in err


@pytest.mark.parametrize("name", models.PIXEL_RANGES)
def test_what_photos_are_shown_as_is_said_and_kept(name, run):
    model = saved(sequential(*tail()))
    code, out, err = run("explain", "net.keras", "one.png", *QUICK, "--preprocess", name)
    assert (code, err) == (0, "")
    assert f"net.keras is shown photos as {name}: black is" in out
    record = Explanation.load("explanations/one.npz")
    assert record.settings["preprocess"] == name
    with Image.open("one.png") as photo:
        cut = np.asarray(photo.crop((2, 0, 22, 20)).resize((16, 16), Image.Resampling.BICUBIC))
    low, high = models.PIXEL_RANGES[name]
    shown = low + cut / 255 * (np.asarray(high) - low)
    expected = tfxai.gradient(model).explain(shown[None].astype("float32"), verbose=0)
    np.testing.assert_allclose(record.scores, expected.scores, rtol=1e-4)


def test_raw_is_right_for_a_model_that_takes_pixels_and_another_word_is_doubted(run):
    saved(sequential(L.Rescaling(1 / 255, name="scale"), *tail()))
    code, out, _ = run("explain", "net.keras", "one.png", *QUICK)
    assert code == 0
    assert "as raw: black is 0.0, white 255.0, which its layer scale takes" in out
    assert Explanation.load("explanations/one.npz").settings["preprocess"] == "raw"
    code, out, _ = run("explain", "net.keras", "one.png", *QUICK, "--preprocess", "unit")
    assert code == 0
    assert "as unit: black is 0.0, white 1.0, although its layer scale takes 0..255" in out


def test_a_model_of_the_zoo_knows_its_own(run):
    given = ("explain", "efficientnet-lite0", "one.png", "--method", "random_attribution")
    code, out, err = run(*given)
    assert (code, err) == (0, "")
    assert "efficientnet-lite0 is shown photos as it was trained" in out
    settings = Explanation.load("explanations/one.npz").settings
    assert settings["preprocess"] == "that of efficientnet-lite0"
    code, out, err = run(*given, "--preprocess", "unit")
    assert (code, out) == (2, "")
    assert err.startswith("tfxai: --preprocess unit: is for files; efficientnet-lite0")


def test_a_benchmark_says_and_keeps_it(run):
    saved(sequential(*tail()))
    given = ("--methods", "gradient", "--metrics", "gini", "--preprocess", "signed")
    code, out, _ = run("benchmark", "net.keras", "one.png", *given)
    assert code == 0
    assert "net.keras is shown photos as signed" in out
    assert Results.load("benchmark").settings["bounds"] == [-1.0, 1.0]
    code, _, err = run("benchmark", "net.keras", "one.png", *given[:-1], "unit")
    assert code == 2
    assert "bounds=[-1.0, 1.0]" in err


def test_an_exported_model_notes_it(run):
    saved(sequential(*tail()))
    given = ("--methods", "gradient", "--preprocess", "unit", "--inputs", "uint8")
    code, out, _ = run("export", "net.keras", "served", *given)
    assert code == 0
    assert "net.keras is shown photos as unit" in out
    assert saved_model.metadata("served")["preprocess"] == "unit"


def test_the_whole_of_what_keras_says_of_a_layer_of_ones_own(run, monkeypatch):
    """Its cause is at the end, behind thousands of letters."""
    sequential(*(L.Conv2D(3, 3, padding="same") for _ in range(9)), Unknown(), *tail()).save(
        "net.keras"
    )
    with monkeypatch.context() as forgotten:
        forgotten.setattr(Unknown, "__module__", "nowhere")
        forgotten.delitem(keras.saving.get_custom_objects(), "here>Unknown")
        code, _, err = run("explain", "net.keras", "one.png")
    assert code == 2
    assert len(err) > 3000
    assert err.count("\n") == 1
    assert "code of your own, Unknown" in err
    assert "custom_objects={'Unknown': Unknown}" in err
    assert "Exception encountered: Could not locate class 'Unknown'" in err
    assert "'registered_name': 'here>Unknown'" in err


def savedmodel(path):
    tf.saved_model.save(tf.Module(), path)


def a_folder(path):
    tf.io.gfile.makedirs(path)


def junk(path):
    with open(path, "wb") as file:
        file.write(b"junk")


OTHER_FILES = {
    "junk.keras": (junk, "MODEL junk.keras: is no Keras file"),
    "folder.keras": (a_folder, "MODEL folder.keras: is a folder"),
    "nowhere.keras": (None, "MODEL nowhere.keras: no such file"),
    "junk.onnx": (junk, "junk.onnx is not an ONNX file"),
    "folder": (a_folder, "this is a folder"),
    "served": (savedmodel, "this folder is a SavedModel, a TensorFlow graph without Keras layers"),
    "model.h5": (junk, "keras.saving.load_model(FILE).save('model.keras')"),
    "m.weights.h5": (junk, "weights alone: save the Keras model itself"),
    "model.pth": (junk, "export the module to .onnx"),
    "model.tflite": (junk, "has no gradients"),
    "nowhere.h5": (None, "no such file"),
    "photo.png": (junk, "the model comes before the photos"),
    "./net": (None, "no such file"),
    "notes": (junk, "expected a .keras or .onnx file"),
    "resnet50": (None, "perhaps ResNet50"),
    "efficientnetlite0": (None, "perhaps efficientnet-lite0"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_a_file_of_another_kind_is_answered_with_the_remedy(name, run):
    make, said = OTHER_FILES[name]
    if make is not None:
        make(name)
    code, out, err = run("explain", name, "one.png")
    assert (code, out) == (2, "")
    assert err.startswith("tfxai: MODEL ")
    assert said in err
    assert "File not found" not in err
    assert err.count("\n") == 1
