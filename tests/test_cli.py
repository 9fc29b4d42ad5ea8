"""The command line: what it writes, and one line for each mistake of its user."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import tfxai
import tfxai_command
from tests.thorough import quick
from tfxai import zoo
from tfxai.cli.methods import BUILDERS
from tfxai.explaining.explanation import Explanation

L = keras.layers
QUICK = ("--method", "gradient")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of small models that are saved once."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)

    def save(name, inputs, *layers):
        keras.Sequential([keras.Input(inputs), *layers]).save(folder / f"{name}.keras")

    def classify(units=4):
        convolution = L.Conv2D(4, 3, activation="relu", name="conv2d")
        return convolution, L.GlobalAveragePooling2D(), L.Dense(units, activation="softmax")

    save("cnn", (24, 32, 3), L.Rescaling(1 / 255), *classify())
    save("grey", (24, 24, 1), L.Rescaling(1 / 255), *classify(2))
    save("any_size", (None, None, 3), L.Rescaling(1 / 255), *classify())
    save("small", (8, 8, 3), L.Rescaling(1 / 255), L.Flatten(), L.Dense(3))
    save("table", (5,), L.Dense(2))
    pixels = np.random.default_rng(0).uniform(0, 255, (40, 24, 32, 3))
    model = keras.saving.load_model(folder / "cnn.keras")
    tfxai.fit_patterns(model, pixels, verbose=0).save(folder / "patterns.npz")
    (folder / "corrupted.keras").write_bytes(b"not a model")
    content = bytearray((folder / "cnn.keras").read_bytes())
    (folder / "cut.keras").write_bytes(content[: len(content) // 2])
    middle = len(content) // 2
    content[middle : middle + 100] = b"\xff" * 100
    (folder / "damaged.keras").write_bytes(content)
    (folder / "model.h5").write_bytes(b"")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with three pictures."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in ("one", "two", "three"):
        pixels = random.integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(f"{name}.png")
    return tmp_path


def test_each_image_gets_a_picture_and_a_record(models, here, run):
    arguments = ["one.png", "two.png", "--option", "steps=9", "--out", "results/deep"]
    code, out, err = run("explain", models / "cnn.keras", *arguments)
    assert (code, err) == (0, "")
    written = sorted(f.name for f in (here / "results" / "deep").iterdir())
    assert written == ["one.npz", "one.png", "two.npz", "two.png"]
    for name in ("one", "two"):
        record = Explanation.load(here / "results" / "deep" / f"{name}.npz")
        assert record.attributions.shape == (1, 24, 32, 3)
        assert record.settings["method"] == "integrated_gradients"
        assert record.settings["steps"] == record.diagnostics["steps"][0] == 9
        with Image.open(here / "results" / "deep" / f"{name}.png") as picture:
            picture.load()
            assert picture.format == "PNG"
        assert f"{name}.png: {record.targets[0]} (score {record.scores[0]:.4g})" in out


@pytest.mark.parametrize(
    ("name", "low", "high"),
    quick([("raw", 0, 255), ("unit", 0, 1), ("signed", -1, 1)], ("raw", 0, 255), ("signed", -1, 1)),
)
def test_the_record_is_what_the_library_gives(name, low, high, models, here, run):
    colour = 30, 120, 240
    Image.new("RGB", (50, 40), colour).save("blue.png")
    code, _, _ = run("explain", models / "cnn.keras", "blue.png", *QUICK, "--preprocess", name)
    pixels = np.full([24, 32, 3], colour) / 255 * (high - low) + low
    model = keras.saving.load_model(models / "cnn.keras")
    expected = tfxai.gradient(model).explain(pixels[None].astype(np.float32), verbose=0)
    record = Explanation.load("explanations/blue.npz")
    assert code == 0
    assert record.targets == expected.targets
    np.testing.assert_allclose(record.scores, expected.scores, rtol=1e-5)
    np.testing.assert_allclose(record.attributions, expected.attributions, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "method",
    quick(
        BUILDERS,
        *("integrated_gradients", "smoothgrad", "adaptgrad", "cafo", "noisegrad", "fusiongrad"),
        *("excitation_backprop", "igos", "occlusion", "pattern_attribution", "grad_cam"),
    ),
)
def test_every_method_can_be_chosen(method, models, here, run):
    options = {
        "integrated_gradients": ["steps=3", "quadrature=gauss_legendre", "baseline=white"],
        "smoothgrad": ["samples=3", "kernel=poisson", "noise_level=0.1"],
        "adaptgrad": ["samples=3", "confidence=0.9"],
        "cafo": ["lambda1=bisect"],
        "caso": ["lambda1=1e-7", "rank=4"],
        "noisegrad": ["samples=2", "epsilon=0.2", "exclude=['conv2d']"],
        "fusiongrad": ["samples=(2, 2)", "kernel=rect"],
        "smoothgrad_squared": ["samples=3"],
        "vargrad": ["samples=3"],
        "excitation_backprop": ["layer=conv2d", "upsample=nearest"],
        "igos": ["resolution=(6, 8)", "steps=2", "iterations=2", "lambda1=1e-6", "lambda2=1e-5"],
        "meaningful_perturbation": ["resolution=6", "iterations=2", "baseline=mean"],
        "rise": ["masks=10", "grid=3"],
        "occlusion": ["patch=8", "baseline=black"],
    }
    given = [part for text in options.get(method, []) for part in ("--option", text)]
    if method.startswith("pattern"):
        given += ["--patterns", models / "patterns.npz"]
    code, _, err = run(
        "explain", models / "cnn.keras", "one.png", "--method", method, *given, "--seed", 5
    )
    assert (code, err) == (0, "")
    record = Explanation.load("explanations/one.npz")
    assert (record.settings["method"], record.seed) == (method, 5)


def test_white_is_the_upper_bound_of_the_preprocessing(models, here, run):
    Image.new("RGB", (50, 40), "white").save("white.png")
    options = ["baseline=white", "steps=3", "quadrature=midpoint"]
    given = [part for text in options for part in ("--option", text)]
    command = ["explain", models / "cnn.keras", "white.png", "--preprocess", "signed", *given]
    assert run(*command)[0] == 0
    record = Explanation.load("explanations/white.npz")
    np.testing.assert_allclose(record.attributions, 0, atol=1e-7)


def test_a_target_by_index_is_explained(models, here, run):
    assert run("explain", models / "cnn.keras", "one.png", *QUICK, "--target", 2)[0] == 0
    assert Explanation.load("explanations/one.npz").targets.tolist() == [2]


def test_a_target_of_the_zoo_is_explained_by_name(here, run):
    photo = zoo.skimage_photo("chelsea")
    arguments = ["efficientnet-lite0", photo, "--method=random_attribution", "--target=tabby"]
    code, out, err = run("explain", *arguments)
    assert (code, err) == (0, "")
    assert "tabby" in out
    record = Explanation.load("explanations/chelsea.npz")
    assert record.targets.tolist() == [281]
    assert record.attributions.shape == (1, 224, 224, 3)


def test_a_grey_model_sees_grey_pictures(models, here, run):
    assert run("explain", models / "grey.keras", "one.png", *QUICK)[0] == 0
    assert Explanation.load("explanations/one.npz").attributions.shape == (1, 24, 24, 1)


def test_a_picture_of_the_models_size_is_shown_whole(models, here, run):
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save("small.png")
    assert run("explain", models / "small.keras", "small.png", *QUICK)[0] == 0
    logits = keras.saving.load_model(models / "small.keras").predict(pixels[None], verbose=0)
    record = Explanation.load("explanations/small.npz")
    np.testing.assert_allclose(record.scores, logits.max(-1), rtol=1e-5)


def test_a_folder_stands_for_the_images_in_it(models, here, run):
    folder = here / "photos"
    folder.mkdir()
    for name in ("a.JPG", "b.webp", "c.bmp"):
        Image.open("one.png").save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    assert run("explain", models / "cnn.keras", folder, "two.png", *QUICK)[0] == 0
    written = sorted(f.name for f in (here / "explanations").glob("*.npz"))
    assert written == ["a.npz", "b.npz", "c.npz", "two.npz"]


def test_an_image_that_is_given_twice_is_explained_once(models, here, run):
    images = ["one.png", here / "one.png", "two.png", ".", "one.png"]
    code, out, _ = run("explain", models / "cnn.keras", *images, *QUICK)
    assert code == 0
    assert out.count("(score") == 3
    written = sorted(f.name for f in (here / "explanations").glob("*.npz"))
    assert written == ["one.npz", "three.npz", "two.npz"]


def test_images_of_the_same_name_do_not_overwrite_each_other(models, here, run):
    for folder in ("left", "right"):
        (here / folder).mkdir()
        Image.open("one.png").save(here / folder / "one.png")
    Image.open("two.png").save("one_2.png")
    images = ["left/one.png", "right/one.png", "one_2.png"]
    assert run("explain", models / "cnn.keras", *images, *QUICK)[0] == 0
    assert len(list((here / "explanations").glob("*.npz"))) == 3


def test_results_do_not_overwrite_the_images(models, here, run):
    before = (here / "one.png").read_bytes()
    run("explain", models / "cnn.keras", "one.png", *QUICK, "--out", here)
    assert (here / "one.png").read_bytes() == before


def test_broken_images_are_reported_by_name_and_the_others_explained(models, here, run):
    (here / "junk.png").write_bytes(b"\x89PNG junk")
    (here / "cut.png").write_bytes((here / "one.png").read_bytes()[:500])
    images = ["one.png", "junk.png", "cut.png", "two.png"]
    code, out, err = run("explain", models / "cnn.keras", *images, *QUICK)
    assert code == 1
    assert "Traceback" not in err
    for name in ("junk.png", "cut.png"):
        assert f"{name}: not a readable image" in err
    assert "2 of 4 images could not be read" in err
    assert "one.png" in out
    assert "two.png" in out
    written = sorted(f.name for f in (here / "explanations").glob("*.npz"))
    assert written == ["one.npz", "two.npz"]


def test_a_broken_image_with_a_long_path_is_reported_in_one_line(models, here, run):
    folder = here / ("a long name of a folder " * 5).strip()
    folder.mkdir()
    (folder / "junk.png").write_bytes(b"junk")
    code, _, err = run("explain", models / "cnn.keras", folder / "junk.png", *QUICK)
    assert code == 1
    assert f"{folder / 'junk.png'}: not a readable image" in err
    assert len(err.splitlines()) == 2


MISTAKES = {
    "missing model": (["missing.keras", "one.png"], "missing.keras"),
    "corrupted model": (["{models}/corrupted.keras", "one.png"], "corrupted.keras"),
    "cut model": (["{models}/cut.keras", "one.png"], "cut.keras"),
    "damaged model": (["{models}/damaged.keras", "one.png"], "damaged.keras"),
    "model of another kind": (["{models}/model.h5", "one.png"], "model.h5"),
    "model of any size": (
        ["{models}/any_size.keras", "one.png"],
        "any_size.keras takes images of any size",
    ),
    "tabular model": (["{models}/table.keras", "one.png"], "(None, 5)"),
    "unknown zoo name": (["efficientnet-lite7", "one.png"], "efficientnet-lite7"),
    "missing image": (["{cnn}", "one.png", "missing.png"], "missing.png"),
    "empty folder": (["{cnn}", "empty"], "empty"),
    "unknown method": (["{cnn}", "one.png", "--method", "magic"], "--method magic"),
    "no patterns": (["{cnn}", "one.png", "--method", "pattern_net"], "needs --patterns FILE"),
    "patterns for nothing": (["{cnn}", "one.png", "--patterns", "p.npz"], "takes none"),
    "missing patterns": (
        ["{cnn}", "one.png", "--method", "pattern_net", "--patterns", "p.npz"],
        "--patterns p.npz: No such file",
    ),
    "damaged patterns": (
        ["{cnn}", "one.png", "--method", "pattern_net", "--patterns", "one.png"],
        "one.png holds no patterns",
    ),
    "patterns of another model": (
        [
            *("{models}/small.keras", "one.png", "--method", "pattern_net"),
            *("--patterns", "{models}/patterns.npz"),
        ],
        "patterns: fitted on another model",
    ),
    "unknown layer": (
        ["{cnn}", "one.png", "--method", "grad_cam", "--option", "layer=x"],
        "no such layer",
    ),
    "unknown preprocessing": (["{cnn}", "one.png", "--preprocess", "x"], "--preprocess x"),
    "out is a file": (["{cnn}", "one.png", "--out", "two.png"], "two.png"),
}
OPTIONS = {
    "magic=1": "--option magic=1",
    "steps": "--option steps",
    "=3": "--option =3",
    "steps=0": "steps=0",
    "steps=abc": "steps='abc'",
    "steps=[1": "steps='[1'",
    "steps=1.5": "steps=1.5",
    "tolerance=-1": "tolerance=-1",
    "baseline=purple": "baseline='purple'",
    "baseline=[1, 2]": "baseline",
    "quadrature=magic": "quadrature='magic'",
    "score=magic": "--option score=magic: magic is no score",
}
TARGETS = ["4", "-1", "cat", "", "--5", "²", "9" * 30]


NEARLY = {
    "--steps=9": "perhaps --option steps=...",
    "--n-steps=9": "perhaps --option steps=...",
    "--targets=1": "perhaps --target",
    "--class-index=1": "perhaps --target",
    "--preproces=raw": "perhaps --preprocess",
    "--method=gradcam": "perhaps grad_cam",
    "--method=Saliency": "perhaps gradient",
    "--option=n_steps=3": "perhaps steps",
    "--preprocess=units": "perhaps unit",
    "--option=steps": "expected steps=...",
    "steps=3": "--option steps=3",
    "--colour=red": "it has --method, --target",
}


def assert_one_line(result, said):
    code, out, err = result
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1
    assert err.startswith("tfxai: ")
    assert said in err


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_in_one_line(mistake, models, here, run):
    arguments, said = MISTAKES[mistake]
    (here / "empty").mkdir()
    cnn = models / "cnn.keras"
    given = [argument.format(models=models, cnn=cnn) for argument in arguments]
    assert_one_line(run("explain", *given), said)


def test_an_unknown_model_for_the_demo_is_reported_in_one_line(run):
    assert_one_line(run("demo", "--model", "resnet0"), "resnet0")


def test_what_a_method_warns_of_is_one_line(models, here, run):
    options = ["resolution=6", "steps=2", "iterations=1", "lambda1=9"]
    given = [part for text in options for part in ("--option", text)]
    code, _, err = run("explain", models / "cnn.keras", "one.png", "--method", "igos", *given)
    assert code == 0
    told = err.splitlines()
    assert all(line.startswith("one.png: igos: ") for line in told)
    assert [line for line in told if "the masks of examples 0 have hardly moved" in line]


@pytest.mark.parametrize("option", OPTIONS)
def test_a_wrong_option_is_reported_in_one_line(option, models, here, run):
    result = run("explain", models / "cnn.keras", "one.png", "--option", option)
    assert_one_line(result, OPTIONS[option])


@pytest.mark.parametrize("option", NEARLY)
def test_an_option_that_is_nearly_right_is_answered_with_what_is_meant(option, models, here, run):
    assert_one_line(run("explain", models / "cnn.keras", "one.png", option), NEARLY[option])


def test_the_option_of_a_method_is_written_with_its_name_for_a_benchmark(models, here, run):
    result = run("benchmark", models / "cnn.keras", "one.png", "--samples", "9")
    assert_one_line(result, "perhaps --option METHOD.samples=...")
    result = run("benchmark", models / "cnn.keras", "one.png", "--metrics", "delition")
    assert_one_line(result, "perhaps deletion")


@pytest.mark.parametrize("target", TARGETS)
def test_a_wrong_target_is_reported_in_one_line(target, models, here, run):
    result = run("explain", models / "cnn.keras", "one.png", *QUICK, f"--target={target}")
    assert_one_line(result, target[:3])


def test_a_seed_that_is_too_large_is_reported_in_one_line(models, here, run):
    result = run("explain", models / "cnn.keras", "one.png", *QUICK, "--seed", 2**40)
    assert_one_line(result, f"seed={2**40}")


def test_python_code_in_a_model_is_refused_and_not_run(here, run):
    ran = here / "ran"

    code = L.Lambda(lambda x: (open("ran", "w").close(), x)[1])
    model = keras.Sequential([keras.Input((8, 8, 3)), code, L.Flatten(), L.Dense(2)])
    model.save(here / "lambda.keras")
    ran.unlink()
    assert_one_line(run("explain", "lambda.keras", "one.png", *QUICK), "Lambda")
    assert not ran.exists()


@pytest.mark.parametrize("arguments", [["--help"], ["explain", "--help"], ["demo", "--help"]])
def test_help_is_given(arguments, run):
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    assert "Usage: " in out


@pytest.mark.parametrize("arguments", [["explain"], ["explain", "x.keras"], ["paint"]])
def test_a_wrong_command_is_answered_with_the_usage(arguments, run):
    code, _, err = run(*arguments)
    assert code == 2
    assert "Usage: " in err
    assert "Traceback" not in err


def test_a_fresh_process_shows_no_traceback(models, here):
    command = [sys.executable, "-m", "tfxai.cli", "explain", models / "cnn.keras", "one.png"]
    done = subprocess.run(
        [*command, *QUICK, "--target", "9"],
        capture_output=True,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("tfxai: targets: 9 is out of range")


@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("0", "0")])
def test_the_command_switches_on_onednn_unless_the_environment_says_otherwise(
    monkeypatch, given, expected
):
    monkeypatch.setattr("tfxai.cli.main.main", lambda: None)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", str(given))  # so that it is set back at the end
    if given is None:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    tfxai_command.main()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == expected
