"""Fresh exports of whole networks: outputs against onnxruntime, gradients against PyTorch."""

import keras
import numpy as np
import pytest
import torch
from export import NETS, SIZES, export, image, small
from nets import randomised

from tfxai.converters import UnsupportedError, certify, from_onnx, from_torch


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
@pytest.mark.parametrize("name", NETS)
def test_small_networks(name, dynamo, tmp_path):
    net, example = small(name)
    path = tmp_path / "net.onnx"
    export(net, example, path, dynamo=dynamo)
    certificate = certify(from_onnx(path), path, module=net, samples=3)
    assert certificate.max_relative_error < 1e-5
    assert certificate.gradient_error < 1e-5
    assert certificate.holds


WHOLE = ("resnet50", "inception_v3", "mobilenet_v3", "densenet")


@pytest.mark.parametrize("name", WHOLE)
def test_networks_of_full_size(name, tmp_path):
    net, path = randomised(NETS[name]()), tmp_path / "net.onnx"
    export(net, image(SIZES.get(name, 224)), path, dynamo=True, folded=False)
    certificate = certify(from_onnx(path), path, module=net, samples=1)
    assert certificate.max_relative_error < 1e-5
    assert certificate.gradient_error < 1e-5


@pytest.mark.parametrize("name", ["densenet", "shufflenet"])
def test_folding_switches_some_neurons(name, tmp_path):
    """The exporter's file is another network, by its rounding; the certificate holds for it."""
    net, path = randomised(NETS[name]()), tmp_path / "net.onnx"
    export(net, image(224), path, dynamo=False)
    certificate = certify(from_onnx(path), path, module=net, samples=1)
    assert certificate.max_relative_error < 1e-5
    assert certificate.holds


@pytest.mark.parametrize("exporter", ["dynamo", "legacy"])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("name", ["resnet18", "vit", "swin", "encoder", "lstm"])
def test_from_torch(name, rows, exporter):
    """The module is exported with the example's batch; the model takes any number of examples."""
    net, example = small(name)
    if (name, rows, exporter) == ("lstm", 2, "legacy"):  # docs/importing.md
        with pytest.raises(UnsupportedError, match="constants do not fit"):
            from_torch(net, example[:rows], exporter=exporter)
        return
    model = from_torch(net, example[:rows], exporter=exporter)
    assert isinstance(model, keras.Model)
    images = torch.cat([example, example.flip(3)])
    expected = net(images).detach().numpy()
    is_image = model.input_shape[-1] == 3
    found = model((images.permute(0, 2, 3, 1) if is_image else images).numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_modules_in_training_are_refused():
    net, example = small("resnet18")
    with pytest.raises(ValueError, match=r"call module\.eval"):
        from_torch(net.train(), example)
    with pytest.raises(ValueError, match="exporter='magic'"):
        from_torch(net.eval(), example, exporter="magic")


def test_wrong_gradients_are_seen(tmp_path):
    net, example = small("vgg16")
    path = tmp_path / "net.onnx"
    export(net, example, path, dynamo=False)
    other = randomised(net, seed=1)
    assert certify(from_onnx(path), path, module=other).gradient_error > 0.1
    assert torch.isfinite(example).all()
