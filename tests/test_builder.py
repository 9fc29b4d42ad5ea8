"""The builders' decorator: what a builder was called with is kept once, and saved."""

import inspect
import pickle

import keras
import numpy as np
import pytest

import tfxai
from tests.conftest import small_cnn
from tfxai import scores
from tfxai.core.types import Result
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.methods.gradients import gradient as gradients
from tfxai.models.model_info import ModelInspector

BUILDERS = [
    name
    for name in tfxai.__all__
    if inspect.isfunction(getattr(tfxai, name))
    and inspect.signature(getattr(tfxai, name)).return_annotation is tfxai.Explainer
]


@builder
def scaled_inputs(base: keras.Model, factor: float = 3.0, *, table=None, exclude=()) -> Method:
    """Explain by the inputs, times a factor."""
    if factor == 0:
        raise ValueError("factor=0: expected another number")

    def attribute(inputs, targets, seed):
        return Result(factor * inputs, {})

    return Method(ModelInspector(base), lambda rows: attribute, scores.logit)


def test_what_a_builder_was_called_with_is_kept_with_defaults(cnn):
    explainer = scaled_inputs(cnn, 2.0, exclude=["a"])
    kept = {"method": "scaled_inputs", "factor": 2.0, "table": None, "exclude": ["a"]}
    assert explainer.settings == kept
    assert explainer.base is cnn
    assert scaled_inputs(cnn).settings["factor"] == 3.0


def test_the_first_argument_has_a_name(cnn):
    assert scaled_inputs(factor=2.0, base=cnn).base is cnn
    assert tfxai.integrated_gradients(model=cnn, steps=5).settings["steps"] == 5


def test_name_docstring_and_parameters_stay():
    assert scaled_inputs.__name__ == "scaled_inputs"
    assert scaled_inputs.__doc__ == "Explain by the inputs, times a factor."
    assert scaled_inputs.__module__ == __name__
    assert list(inspect.signature(scaled_inputs).parameters) == [
        *("base", "factor", "table", "exclude")
    ]


def test_every_method_is_a_builder():
    assert len(BUILDERS) == 25
    for name in BUILDERS:
        function = getattr(tfxai, name)
        assert "Returns:\n    An Explainer" in inspect.getdoc(function), name
        assert pickle.loads(pickle.dumps(function)) is function


def test_wrong_arguments_raise_as_in_any_function(cnn):
    with pytest.raises(TypeError, match=r"scaled_inputs\(\) got an unexpected keyword .*'steps'"):
        scaled_inputs(cnn, steps=3)
    with pytest.raises(TypeError, match=r"scaled_inputs\(\) missing 1 required .*'base'"):
        scaled_inputs()
    with pytest.raises(TypeError, match=r"scaled_inputs\(\) takes from 1 to 2 positional"):
        scaled_inputs(cnn, 1.0, 2.0)
    with pytest.raises(ValueError, match="factor=0"):
        scaled_inputs(cnn, 0)


def test_a_saved_explainer_calls_its_builder_again(cnn, images, tmp_path):
    explainer = scaled_inputs(cnn, factor=0.5, exclude=["a", "b"])
    explainer.save(tmp_path / "explainer.keras")
    loaded = keras.saving.load_model(tmp_path / "explainer.keras")
    assert loaded.settings == explainer.settings
    np.testing.assert_array_equal(loaded(images, 0), images / 2)
    other = explainer.on(small_cnn())
    assert other.base is not cnn
    assert other.settings == explainer.settings


def test_keras_knows_the_builder_that_the_package_shows(cnn):
    assert keras.saving.get_registered_name(gradients.gradient) == "tfxai>gradient"
    config = tfxai.gradient(cnn).get_config()
    assert config["builder"]["config"] == "tfxai>gradient"
    assert keras.saving.deserialize_keras_object(config["builder"]) is gradients.gradient


def test_tables_of_another_library_are_kept_as_arrays(cnn):
    class Table:
        def __array__(self, dtype=None, copy=None):
            return np.arange(6.0).reshape(2, 3)

    explainer = scaled_inputs(cnn, table=Table())
    assert explainer.settings["table"] == "array of shape [2, 3]"
    loaded = type(explainer).from_config(explainer.get_config())
    assert loaded.settings == explainer.settings


def test_the_weights_of_a_layer_among_the_options_are_saved(cnn, images, tmp_path):
    layer = keras.layers.Normalization()
    layer.adapt(images)
    explainer = tfxai.cafo(cnn, preprocess=layer, lambda1=1e-3)
    maps = explainer(images, 1)
    explainer.save(tmp_path / "explainer.keras")
    loaded = keras.saving.load_model(tmp_path / "explainer.keras")
    np.testing.assert_array_equal(loaded(images, 1), maps)
    np.testing.assert_array_equal(explainer.on(cnn)(images, 1), maps)
