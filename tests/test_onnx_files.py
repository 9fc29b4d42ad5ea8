"""Files as PyTorch's two exporters and Keras write them, and files that are broken."""

import random
import shutil
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import helper

import tfxai
from tests.onnx_models import check, last, normal, one, proto
from tests.thorough import quick
from tfxai.converters import UnsupportedError, certify, from_onnx

FOLDER = Path(__file__).parent / "onnx_files"
FILES = sorted(FOLDER.glob("*.onnx"))
EACH_ONCE = [
    FOLDER / f"{name}.onnx"
    for name in (
        *("convnext_dynamo", "densenet_legacy", "efficientnet_dynamo", "inception_v3_legacy"),
        *("keras_net", "mobilenet_v2_dynamo", "mobilenet_v3_legacy", "resnet18_dynamo"),
        *("resnet50_legacy", "shufflenet_dynamo", "squeezenet_legacy", "vgg16_dynamo"),
        *("vit_dynamo", "swin_legacy", "encoder_legacy", "lstm_dynamo"),
    )
]
"""Each network by one of the two exporters."""


def loaded(path):
    """A file with its weights, as one proto."""
    return onnx.load(path)


def example(model):
    """Normal noise of the shape that the file wants, two rows where it takes them."""
    (image,) = model.graph.input
    sizes = [axis.dim_value for axis in image.type.tensor_type.shape.dim]
    return normal(sizes[0] or 2, *sizes[1:])


@pytest.mark.parametrize("path", quick(FILES, *EACH_ONCE), ids=lambda path: path.stem)
def test_exported_networks_compute_the_same(path, tmp_path):
    model = loaded(path)
    images = example(model)
    stays = path.stem.startswith(("keras", "encoder", "lstm"))  # these begin with a transpose
    net = check(model, images, channels_first=not stays)
    net.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    inputs = images if stays else last(images)
    np.testing.assert_array_equal(again(inputs), net(inputs))


def test_there_are_files_of_both_exporters_and_keras():
    kinds = [path.stem.rsplit("_", 1)[-1] for path in FILES]
    assert kinds.count("dynamo") >= 10
    assert kinds.count("legacy") >= 10
    assert any(path.stem.startswith("keras") for path in FILES)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.onnx"):
        from_onnx(tmp_path / "nowhere.onnx")


def test_files_that_are_no_models(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model at all")
    with pytest.raises(ValueError, match=r"broken\.onnx is not"):
        from_onnx(path)
    whole = one("Relu", {"x": [None, 3]}).SerializeToString()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"broken\.onnx is not"):
        from_onnx(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"broken\.onnx is not"):
        from_onnx(path)


def test_missing_external_data(tmp_path):
    model = one("Gemm", {"x": [None, 40]}, {"w": normal(40, 30)})
    path = tmp_path / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    check(loaded(path), normal(2, 40))
    assert from_onnx(path).count_params() == 1200
    (tmp_path / "net.data").unlink()
    with pytest.raises(FileNotFoundError, match=r"'net\.data', which is missing"):
        from_onnx(path)


def test_an_unknown_operation_names_node_and_remedy():
    model = one("Det", {"x": [None, 3, 3]})
    with pytest.raises(UnsupportedError, match=r"node 'node' \(Det\).*engine='onnx2tf'"):
        from_onnx(model)


def test_operations_of_other_domains():
    node = helper.make_node("Fancy", ["x"], ["y"], name="own", domain="com.example")
    graph = proto([node], {"x": [None, 3]}, domains=["com.example"])
    with pytest.raises(UnsupportedError, match=r"'own' \(com\.example\.Fancy\)"):
        from_onnx(graph)


def test_control_flow():
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "branch", [], [])
    node = helper.make_node("If", ["c"], ["y"], name="choice", then_branch=branch)
    model = proto([node], {"x": [None, 3]}, {"c": np.array(True)})
    with pytest.raises(UnsupportedError, match=r"'choice' \(If\): control flow"):
        from_onnx(model)


def test_training_graphs():
    model = one(
        "Dropout",
        {"x": [None, 3]},
        {"ratio": np.float32(0.5), "training": np.array(True)},
    )
    with pytest.raises(UnsupportedError, match=r"training graph; call model\.eval"):
        from_onnx(model)
    numbers = {n: np.ones(3, "float32") for n in ("s", "b", "m", "v")}
    model = one("BatchNormalization", {"x": [None, 3]}, numbers, training_mode=1)
    with pytest.raises(UnsupportedError, match="training graph"):
        from_onnx(model)


def test_open_sizes_need_input_shape():
    model = one("Conv", {"image": [None, 3, None, None]}, {"w": normal(4, 3, 3, 3)})
    with pytest.raises(ValueError, match=r"'image' open.*pass input_shape="):
        from_onnx(model)
    check(model, normal(2, 3, 9, 8), input_shape=(3, 9, 8))
    with pytest.raises(ValueError, match=r"input_shape=\(4, 9, 8\)"):
        from_onnx(model, input_shape=(4, 9, 8))
    with pytest.raises(ValueError, match=r"input_shape=\(9, 8\)"):
        from_onnx(model, input_shape=(9, 8))


def test_integer_inputs():
    model = one("Relu", {"ids": [None, 3]})
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    with pytest.raises(ValueError, match=r"'ids' has int64s, which have no gradient"):
        from_onnx(model)


def test_old_opsets():
    with pytest.raises(ValueError, match=r"opset 8; export it with opset 9"):
        from_onnx(one("Relu", {"x": [None, 3]}, opset=8))


def test_an_output_of_constants():
    model = proto([helper.make_node("Relu", ["c"], ["y"])], {"x": [None, 3]}, {"c": normal(3)})
    with pytest.raises(ValueError, match="'y' does not depend on the input"):
        from_onnx(model)


def test_an_unknown_engine():
    with pytest.raises(ValueError, match="engine='magic'"):
        from_onnx(one("Relu", {"x": [None, 3]}), engine="magic")


def test_names_are_kept_as_far_as_keras_can():
    nodes = [
        helper.make_node("Relu", ["image:0"], ["a"], name="/features/0/Relu"),
        helper.make_node("Relu", ["a"], ["b"], name="/features/0/Relu"),
        helper.make_node("Relu", ["b"], ["y"], name="größe: ä"),
    ]
    net = from_onnx(proto(nodes, {"image:0": [None, 3]}))
    names = [layer.name for layer in net.layers]
    assert names == ["image_0", "features_0_Relu", "features_0_Relu_1", "gr_e"]


def test_nothing_global_changes(tmp_path):
    keras.utils.set_random_seed(3)
    before = keras.random.normal((2,)), random.random(), np.random.rand()
    keras.utils.set_random_seed(3)
    from_onnx(loaded(FILES[0]))
    after = keras.random.normal((2,)), random.random(), np.random.rand()
    np.testing.assert_array_equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert keras.config.image_data_format() == "channels_last"


def test_certificates(tmp_path):
    path = tmp_path / "net.onnx"
    shutil.copy(FOLDER / "resnet18_legacy.onnx", path)
    net = from_onnx(path)
    certificate = certify(net, path, samples=4)
    assert certificate.holds
    assert certificate.max_relative_error < 1e-5
    assert certificate.gradient_error < 0.01
    assert certificate.operations["Conv"] == 20
    certificate.save(tmp_path / "net.json")
    assert '"holds": true' in (tmp_path / "net.json").read_text()
    net.layers[-1].set_weights([1.01 * w for w in net.layers[-1].get_weights()])
    assert not certify(net, path, samples=4).holds


def test_a_certificate_sees_wrong_gradients(tmp_path):
    onnx.save(one("Relu", {"x": [None, 6]}), tmp_path / "relu.onnx")

    @tf.custom_gradient
    def deconvnet(x):
        return tf.nn.relu(x), tf.nn.relu

    inputs = keras.Input((6,))
    net = keras.Model(inputs, keras.layers.Lambda(deconvnet)(inputs))
    certificate = certify(net, tmp_path / "relu.onnx")
    assert certificate.max_absolute_error == 0
    assert certificate.gradient_error > 0.1
    assert not certificate.holds


def hardly_reacting(scale):
    """A smooth net whose outputs move by some millionths of themselves."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"]),
        helper.make_node("Sigmoid", ["h"], ["s"]),
        helper.make_node("GlobalAveragePool", ["s"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "d", "b"], ["y"]),
    ]
    weights = {"w": normal(4, 3, 3, 3), "d": np.float32(scale) * normal(4, 5), "b": 5 + normal(5)}
    return proto(nodes, {"x": [None, 3, 16, 16]}, weights)


@pytest.mark.parametrize("scale", [1e-1, 3e-3])
def test_outputs_that_hardly_react_are_no_false_alarm(scale, tmp_path):
    """A short line has nothing but noise, of up to the whole gradient; the certificate knows."""
    path = tmp_path / "net.onnx"
    onnx.save(hardly_reacting(scale), path)
    net = from_onnx(path)
    certificate = certify(net, path, samples=4)
    assert certificate.holds
    assert certificate.gradient_own_error < 0.1
    assert certificate.gradient_error < 2 * certificate.gradient_own_error
    weights, shifts = net.layers[-1].get_weights()
    net.layers[-1].set_weights([1.5 * weights, shifts])
    assert not certify(net, path, samples=4).holds


def test_what_cannot_be_compared_does_not_hold(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(hardly_reacting(1e-12), path)
    certificate = certify(from_onnx(path), path, samples=2)
    assert certificate.max_relative_error < 1e-6
    assert certificate.gradient_own_error > 0.1
    assert not certificate.holds


def test_a_certificate_wants_the_files_own_model(tmp_path):
    onnx.save(one("Relu", {"x": [None, 6]}), tmp_path / "relu.onnx")
    inputs = keras.Input((6,))
    net = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    with pytest.raises(ValueError, match=r"the model gives \(8, 3\), the file \(8, 6\)"):
        certify(net, tmp_path / "relu.onnx")


FAKE = """
import sys, pathlib
pathlib.Path(sys.argv[1]).write_bytes(b"overwritten")
{outcome}
"""
"""Stands for onnx2tf: it writes over its input, then fails or writes a SavedModel."""
WRITES = """
import tensorflow as tf

class Net(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([{batch}, 4, 3, 2], name="x")])
    def __call__(self, x):
        return {{"output_0": tf.nn.relu(x) * 2}}
net = Net()
tf.saved_model.save(net, sys.argv[2], signatures=net.__call__)
"""


@pytest.fixture
def onnx2tf(monkeypatch):
    """Put a program in onnx2tf's place."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "onnx2tf")

    def put(outcome):
        monkeypatch.setattr("tfxai.converters.onnx2tf_engine.PROGRAM", FAKE.format(outcome=outcome))

    return put


@pytest.mark.parametrize("batch", quick(["None", "1"], "1"))
def test_the_other_engine_gives_a_model_with_gradients(batch, onnx2tf, tmp_path):
    onnx2tf(WRITES.format(batch=batch))
    path = tmp_path / "net.onnx"
    onnx.save(one("Relu", {"x": [None, 2, 4, 3]}), path)
    before = path.read_bytes()
    net = from_onnx(path, engine="onnx2tf")
    assert path.read_bytes() == before
    images = normal(3, 4, 3, 2)
    total = tfxai.gradient(net, score=lambda y, _: tf.reduce_sum(y, (1, 2, 3)))
    np.testing.assert_array_equal(total(images, 0), 2 * (images > 0))
    np.testing.assert_allclose(net(images), 2 * np.maximum(images, 0), rtol=1e-6)
    with pytest.raises(ValueError, match="no floating-point weights"):
        tfxai.noisegrad(net)(images)
    net.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(again(images), net(images))


def test_the_other_engine_fails_with_what_it_said(onnx2tf):
    onnx2tf("sys.exit('no way')")
    with pytest.raises(ValueError, match=r"onnx2tf cannot convert 'net': .*no way"):
        from_onnx(one("Relu", {"x": [None, 2]}), engine="onnx2tf")


def test_the_other_engine_may_not_be_there(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'tfxai\[onnx2tf\]'"):
        from_onnx(one("Relu", {"x": [None, 2]}), engine="onnx2tf")
