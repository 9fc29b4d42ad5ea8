"""The options --output and --score of the command line."""

import keras
import numpy as np
import pytest
from PIL import Image

import tfxai
from tfxai import scores
from tfxai.cli.scores import parse_score
from tfxai.cli.terminal import UserError
from tfxai.explaining.explanation import Explanation

L = keras.layers
QUICK = ("--method", "gradient")


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    """The file of a model of photos that segments and classifies."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 16, 3))
    x = L.Conv2D(4, 3, padding="same", activation="relu")(L.Rescaling(1 / 255)(inputs))
    mask = L.Conv2D(3, 1, activation="softmax")(x)
    label = L.Dense(2, activation="softmax")(L.GlobalAveragePooling2D()(x))
    file = tmp_path_factory.mktemp("models") / "segmenter.keras"
    keras.Model(inputs, {"seen": [mask, {"label": label}], "mask": mask}).save(file)
    return file


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    Image.fromarray(pixels).save("one.png")
    return pixels[None].astype("float32")


@pytest.mark.parametrize(
    ("options", "score"),
    [
        (["--output", "mask", "--score", "region"], scores.output("mask", scores.region())),
        (
            ["--output", "seen/1/label", "--score", "margin"],
            scores.output(("seen", 1, "label"), scores.margin),
        ),
        (["--output", "seen/1/label"], scores.output(("seen", 1, "label"))),
        (
            ["--score", "output('mask', position((2, 3), probability))"],
            scores.output("mask", scores.position((2, 3), scores.probability)),
        ),
        (["--option", "score=output('mask', region())"], scores.output("mask", scores.region())),
    ],
)
def test_a_photo_is_explained_by_this_score(options, score, segmenter, photo, run):
    code, _, err = run("explain", segmenter, "one.png", *QUICK, *options)
    assert (code, err) == (0, "")
    record = Explanation.load("explanations/one.npz")
    assert record.settings["score"] == repr(score)
    model = keras.saving.load_model(segmenter)
    expected = tfxai.gradient(model, score=score).explain(photo, verbose=0)
    assert record.targets == expected.targets
    np.testing.assert_allclose(record.scores, expected.scores, rtol=1e-4)


def test_the_score_of_the_method_is_that_of_the_output(segmenter, photo, run):
    output = ["--output", "seen/1/label"]
    code, _, err = run("explain", segmenter, "one.png", "--method", "cafo", *output)
    assert (code, err) == (0, "")
    settings = Explanation.load("explanations/one.npz").settings
    assert settings["score"] == "output(('seen', 1, 'label'), cross_entropy)"


def test_an_exported_model_explains_an_output(segmenter, photo, run):
    options = ["--methods", "gradient", "--output", "mask", "--score", "region(score=margin)"]
    code, _, err = run("export", segmenter, "served", *options)
    assert (code, err) == (0, "")
    metadata = tfxai.serving.saved_model.metadata("served")
    assert metadata["explainers"]["gradient"]["score"] == "output('mask', region(score=margin))"


MISTAKES = {
    ("--score", "magic"): "--score magic: magic is no score",
    ("--score", "margins"): "perhaps margin",
    ("--score", "region("): "expected a score",
    ("--score", "3"): "expected a score",
    ("--score", "position"): "--score position",
    ("--score", "logit(3)"): "logit takes no arguments",
    ("--score", "region(size=3)"): "region",
    ("--score", "__import__('os')"): "__import__ is no score",
    ("--output", "mask"): "tfxai.scores.region()",
    ("--output", "other"): "no such output, but 'seen', 'mask'",
    ("--score", "region"): "tfxai.scores.output",
    ("--score", "logit", "--option", "score=margin"): "not both",
}


@pytest.mark.parametrize("options", MISTAKES, ids=" ".join)
def test_each_mistake_is_one_line_that_names_it(options, segmenter, photo, run):
    code, _, err = run("explain", segmenter, "one.png", *QUICK, *options)
    assert code == 2
    assert MISTAKES[options] in " ".join(err.split())
    assert "Traceback" not in err


def test_nothing_is_run_but_scores():
    for text in ("print(1)", "scores.logit", "[].append", "lambda z, t: z", "region.__class__"):
        with pytest.raises(UserError):
            parse_score("--score", text)
