"""Every kind of method explains a net that came from PyTorch, also once it is saved and loaded."""

from pathlib import Path

import keras
import numpy as np
import pytest

import tfxai
from tests.networks import with_patterns
from tests.thorough import quick
from tfxai.converters import from_onnx

FOLDER = Path(__file__).parent / "onnx_files"
IMAGES = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")


BUILDERS = {
    "integrated_gradients": lambda m: tfxai.integrated_gradients(m, steps=32),
    "guided_backprop": tfxai.guided_backprop,
    "excitation_backprop": tfxai.excitation_backprop,
    "pattern_attribution": with_patterns(tfxai.pattern_attribution),
    "noisegrad": lambda m: tfxai.noisegrad(m, samples=3),
    "caso": lambda m: tfxai.caso(m, lambda1=1e-5),
    "igos": lambda m: tfxai.igos(m, resolution=8, lambda1=1e-3, lambda2=1e-3, iterations=3),
    "grad_cam": tfxai.grad_cam,
}
RELOADED = ("guided_backprop", "pattern_attribution")
OF_VGG = ("integrated_gradients", "excitation_backprop", "pattern_attribution")


@pytest.fixture(scope="module")
def models(request, tmp_path_factory):
    """A converted net, and itself from a .keras file."""
    model = from_onnx(FOLDER / f"{request.param}.onnx")
    path = tmp_path_factory.mktemp("nets") / "net.keras"
    model.save(path)
    return model, keras.saving.load_model(path)


@pytest.mark.filterwarnings("ignore:.*the same everywhere")
@pytest.mark.parametrize(
    ("models", "name"),
    quick(
        [*(("resnet18_dynamo", n) for n in BUILDERS), *(("vgg16_legacy", n) for n in OF_VGG)],
        *(("resnet18_dynamo", n) for n in (*RELOADED, "caso", "noisegrad")),
        ("vgg16_legacy", "excitation_backprop"),
    ),
    indirect=["models"],
)
def test_methods_explain_converted_networks(name, models):
    model, again = models
    maps = BUILDERS[name](model).explain(IMAGES, verbose=0).attributions
    assert maps.shape[:3] == (2, 32, 32)
    assert np.isfinite(maps).all()
    assert np.abs(maps).max((1, 2, 3)).all()
    if name in RELOADED:
        same = BUILDERS[name](again).explain(IMAGES, verbose=0).attributions
        np.testing.assert_allclose(same, maps, rtol=1e-4, atol=1e-5 * np.abs(maps).max())
