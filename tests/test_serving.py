"""Export: one SavedModel that predicts and explains, with equal numbers, without tfxai."""

import base64
import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfxai
from tests.networks import Subclassed, pixel_model, small_cnn, two_inputs
from tests.thorough import quick
from tfxai import quadrature, zoo
from tfxai.serving import saved_model

L = keras.layers


@pytest.fixture(scope="module")
def explainer():
    model = small_cnn()
    model.class_names = list("abcde")
    return tfxai.integrated_gradients(model, steps=9)


@pytest.fixture(scope="module")
def served(explainer, tmp_path_factory):
    path = tmp_path_factory.mktemp("room") / "served"
    return tfxai.export(explainer.model, path, {"ig": explainer})


@pytest.fixture(scope="module")
def loaded(served):
    return tf.saved_model.load(served)


def test_any_batch_size(explainer, images, loaded):
    explain = loaded.signatures["explain_ig"]
    for count in (1, 3, 5):
        given = tf.constant(images[:count])
        answer = explain(inputs=given, targets=tf.fill([count], -1), seed=tf.constant(0))
        expected = explainer.explain(images[:count], verbose=0)
        np.testing.assert_array_equal(answer["attributions"], expected.attributions)
        np.testing.assert_array_equal(
            answer["completeness_gap"], expected.diagnostics["completeness_gap"]
        )


def test_metadata_is_an_asset(served):
    told = json.loads((served / "assets" / "tfxai.json").read_text())
    assert told == saved_model.metadata(served)
    assert told["class_names"] == list("abcde")
    assert told["explainers"]["ig"]["steps"] == 9
    with pytest.raises(ValueError, match="is no model that tfxai exported"):
        saved_model.metadata(served.parent)


def test_an_explainer_that_was_never_called_is_exported_by_keras(cnn, images, tmp_path):
    explainer = tfxai.gradient(cnn)
    explainer.export(tmp_path / "own", verbose=False)
    served = tf.saved_model.load(tmp_path / "own")
    np.testing.assert_array_equal(served.serve(tf.constant(images)), explainer(images))


def test_a_target_that_is_none(loaded, images):
    explain = loaded.signatures["explain_ig"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected a class below"):
        explain(inputs=tf.constant(images[:1]), targets=tf.constant([5]), seed=tf.constant(0))


def as_served(folder, name, **inputs):
    """Run a signature as TensorFlow Serving does: what a request leaves out is its default."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        signature = loaded.signature_def[name]
        defaults = {key: tf.make_ndarray(value) for key, value in signature.defaults.items()}
        feeds = {signature.inputs[k].name: v for k, v in (defaults | inputs).items()}
        return session.run({k: v.name for k, v in signature.outputs.items()}, feeds)


def test_targets_and_seed_may_be_left_out(cnn, images, tmp_path):
    explainer = tfxai.smoothgrad(cnn, samples=3)
    path = tfxai.export(cnn, tmp_path / "served", {"sg": explainer})
    loaded = tf.saved_model.load(path)
    for asked in ({}, {"targets": [1, 0, 4, 2, 3]}, {"seed": 5}):
        expected = explainer.explain(images, asked.get("targets"), seed=asked.get("seed", 0))
        for answer in (
            loaded.explain_sg(images, **asked),
            as_served(path, "explain_sg", inputs=images, **asked),
        ):
            np.testing.assert_array_equal(answer["targets"], expected.targets)
            np.testing.assert_array_equal(answer["attributions"], expected.attributions)


def test_several_inputs_by_name_may_be_all_that_is_asked(tmp_path):
    model = two_inputs()
    explainer = tfxai.gradient(model)
    path = tfxai.export(model, tmp_path / "two", {"g": explainer})
    random = np.random.default_rng(0)
    inputs = {"row": random.normal(size=(2, 4)), "image": random.normal(size=(2, 6, 6, 1))}
    inputs = {k: v.astype("float32") for k, v in inputs.items()}
    served = {f"inputs_{k}": v for k, v in inputs.items()}
    expected = explainer(inputs)
    loaded = tf.saved_model.load(path)
    for answer in (
        loaded.explain_g(served),
        as_served(path, "explain_g", **served),
    ):
        for key, value in expected.items():
            np.testing.assert_array_equal(answer[f"attributions_{key}"], value)


@pytest.mark.parametrize("count", [1, 3])
def test_targets_are_one_for_each_example_as_in_python(count, explainer, images, loaded):
    targets = [0] * count
    with pytest.raises(ValueError, match=rf"\[{count}\]: expected one target or \[2\]"):
        explainer(images[:2], targets)
    explain = loaded.signatures["explain_ig"]
    asked = {"targets": tf.constant(targets), "seed": tf.constant(0)}
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected one for each example"):
        explain(inputs=tf.constant(images[:2]), **asked)


def unit(pixels):
    return pixels / 255.0


def test_pixels_are_preprocessed_in_the_graph(tmp_path):
    model = pixel_model()
    explainer = tfxai.gradient(model)
    options = {"inputs": "uint8", "preprocess": unit}
    path = tfxai.export(model, tmp_path / "m", {"g": explainer}, **options)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3)).astype(np.uint8)
    loaded = tf.saved_model.load(path).signatures
    inputs = pixels.astype(np.float32) / np.float32(255)
    outputs = loaded["serving_default"](inputs=tf.constant(pixels))["outputs"]
    np.testing.assert_allclose(outputs, model(inputs), rtol=1e-6)
    given = {"targets": tf.constant([0, 1, 2]), "seed": tf.constant(0)}
    maps = loaded["explain_g"](inputs=tf.constant(pixels), **given)["attributions"]
    np.testing.assert_allclose(maps, explainer(inputs, [0, 1, 2]), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("height", "width", "channels"),
    quick(
        [(*size, channels) for size in ((40, 20), (20, 90), (12, 16)) for channels in (1, 3)],
        *((40, 20, 3), (20, 90, 1), (12, 16, 3)),
    ),
)
def test_encoded_images_are_decoded_in_the_graph(height, width, channels, tmp_path):
    """The middle in the model's proportions, as Pillow cuts and resizes it."""
    model = pixel_model(channels=channels)
    path = tfxai.export(model, tmp_path / "m", {}, inputs="bytes", preprocess=unit)
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([y * 3, x * 2, x + y], -1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=100, subsampling=0)
    images = [(tmp_path / f"a.{end}").read_bytes() for end in ("png", "jpg")]
    outputs = tf.saved_model.load(path).signatures["serving_default"](inputs=tf.constant(images))
    with Image.open(tmp_path / "a.png") as image:
        grey = image.convert("L").convert("RGB") if channels == 1 else image
        cut = zoo.centre_crop(grey, (12, 16), margin=0)[..., :channels]
    expected = model(cut[None] / 255).numpy()[0]
    np.testing.assert_allclose(outputs["outputs"], [expected] * 2, atol=0.02)


def test_several_inputs_and_mixed_precision(tmp_path):
    model = two_inputs()
    explainer = tfxai.integrated_gradients(model, steps=5, quadrature=quadrature.midpoint)
    path = tfxai.export(model, tmp_path / "two", {"ig": explainer})
    random = np.random.default_rng(0)
    inputs = {"image": random.normal(size=(2, 6, 6, 1)), "row": random.normal(size=(2, 4))}
    inputs = {k: v.astype("float32") for k, v in inputs.items()}
    given = {f"inputs_{k}": tf.constant(v) for k, v in inputs.items()}
    answer = tf.saved_model.load(path).signatures["explain_ig"](
        **given, targets=tf.constant([0, 2]), seed=tf.constant(0)
    )
    expected = explainer.explain(inputs, [0, 2], verbose=0)
    for key, value in expected.attributions.items():
        np.testing.assert_array_equal(answer[f"attributions_{key}"], value)
    half = small_cnn(policy="mixed_float16")
    path = tfxai.export(half, tmp_path / "half", {"g": tfxai.gradient(half)})
    assert saved_model.metadata(path)["parity"]["explain_g"] == 0


def test_bad_input(cnn, tmp_path, monkeypatch):
    ig = tfxai.integrated_gradients(cnn)
    with pytest.raises(ValueError, match="explains another model"):
        tfxai.export(small_cnn(), tmp_path / "m", {"ig": ig})
    with pytest.raises(ValueError, match="'my ig' cannot name a signature"):
        tfxai.export(cnn, tmp_path / "m", {"my ig": ig})
    with pytest.raises(TypeError, match=r"explainers\['ig'\]: expected an Explainer"):
        tfxai.export(cnn, tmp_path / "m", {"ig": tfxai.gradient})
    with pytest.raises(TypeError, match=r"expected a dict .* such as {'ig': explainer}, got list"):
        tfxai.export(cnn, tmp_path / "m", [ig])
    with pytest.raises(ValueError, match="exists already"):
        tfxai.export(cnn, tmp_path, {})
    with pytest.raises(ValueError, match="preprocess is for"):
        tfxai.export(cnn, tmp_path / "m", {}, preprocess=unit)
    with pytest.raises(ValueError, match="inputs='jpeg'"):
        tfxai.export(cnn, tmp_path / "m", {}, inputs="jpeg")
    table = keras.Sequential([keras.Input((5,)), L.Dense(2)])
    with pytest.raises(ValueError, match="needs a model of one input of images"):
        tfxai.export(table, tmp_path / "m", {}, inputs="bytes")

    with pytest.raises(ValueError, match="declares no inputs; wrap it"):
        tfxai.export(Subclassed(), tmp_path / "m", {})
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_when_writing_fails(cnn, tmp_path, monkeypatch):
    """As on a full disk; a folder of the name is a whole one."""

    def full(*arguments, **options):
        Path(arguments[1]).mkdir()
        (Path(arguments[1]) / "saved_model.pb").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(OSError, match="No space left"):
        tfxai.export(cnn, tmp_path / "m", {"g": tfxai.gradient(cnn)})
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        tfxai.export(cnn, tmp_path / "file" / "m", {})


def from_rest(body, signature):
    """Make a request's tensors as TensorFlow Serving does, by the signature's types and shapes."""

    def plain(value):
        if isinstance(value, list):
            return [plain(v) for v in value]
        return base64.b64decode(value["b64"]) if isinstance(value, dict) else value

    specs = signature.structured_input_signature[1]
    assert body["inputs"].keys() == specs.keys()
    found = {
        name: tf.constant(plain(value), specs[name].dtype) for name, value in body["inputs"].items()
    }
    for name, value in found.items():
        assert specs[name].shape.is_compatible_with(value.shape)
    return found


def test_the_request_bodies_of_the_readme(tmp_path):
    """REST's in columns and gRPC's, against the signature's definition."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    shown = re.search(r"```json\nPOST /v1/models/lite0:predict\n(.*?)```", readme, re.DOTALL)[1]
    body = json.loads(shown)
    model = pixel_model()
    explainer = tfxai.integrated_gradients(model, steps=4, quadrature=quadrature.midpoint)
    options = {"inputs": "bytes", "preprocess": unit}
    path = tfxai.export(model, tmp_path / "m", {"integrated_gradients": explainer}, **options)
    signature = tf.saved_model.load(path).signatures[body["signature_name"]]
    encoded = tf.io.encode_jpeg(np.full((20, 30, 3), 90, np.uint8)).numpy()
    body["inputs"]["inputs"][0]["b64"] = base64.b64encode(encoded).decode()
    by_rest = signature(**from_rest(json.loads(json.dumps(body)), signature))

    protos = {}
    for name, value in {"inputs": [encoded], "targets": [-1], "seed": 0}.items():
        dtype = {"inputs": tf.string}.get(name, tf.int32)
        assert f'"{name}": ' in readme
        protos[name] = tf.make_tensor_proto(value, dtype=dtype)
    by_grpc = signature(**{k: tf.constant(tf.make_ndarray(p)) for k, p in protos.items()})
    np.testing.assert_array_equal(by_rest["attributions"], by_grpc["attributions"])
    assert by_rest["attributions"].shape == (1, 12, 16, 3)
