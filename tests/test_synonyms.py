"""A name that is nearly right, or another library's, is answered with the one that is meant."""

import inspect
import pickle
from functools import partial

import numpy as np
import pytest

import tfxai
from tests.networks import small_cnn

FUNCTIONS = [name for name in tfxai.__all__ if inspect.isfunction(getattr(tfxai, name))]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gradcam", "grad_cam"),
        ("GradCAM", "grad_cam"),
        ("Saliency", "gradient"),
        ("IntegratedGradients", "integrated_gradients"),
        ("SmoothGrad", "smoothgrad"),
        ("SquareGrad", "smoothgrad_squared"),
        ("NoiseTunnel", "smoothgrad"),
        ("InputXGradient", "gradient_times_input"),
        ("GuidedBackpropagation", "guided_backprop"),
        ("intergrated_gradients", "integrated_gradients"),
        ("Rise", "rise"),
        ("metric", "metrics"),
        ("benchmarks", "benchmark"),
    ],
)
def test_a_name_of_another_library_is_answered(name, meant):
    with pytest.raises(AttributeError, match=rf"no attribute '{name}'; perhaps {meant}$"):
        getattr(tfxai, name)


def test_a_name_like_no_other_is_not():
    with pytest.raises(AttributeError, match=r"no attribute 'zebra'$"):
        _ = tfxai.zebra


def test_dir_lists_what_users_use():
    names = dir(tfxai)
    assert {*tfxai.__all__, "__version__", "benchmark", "converters"} <= set(names)
    assert not {"checks", "importlib", "inspect", "synonyms"} & set(names)
    assert not [name for name in names if name.startswith("_") and name != "__version__"]
    assert all(hasattr(tfxai, name) for name in names)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_says_what_it_takes(name):
    function = getattr(tfxai, name)
    *_, last = (p for p in inspect.signature(function).parameters)
    with pytest.raises(TypeError, match=f"{name} has no argument 'zzz': it takes .*{last}"):
        function(zzz=1)
    assert pickle.loads(pickle.dumps(partial(function, 3))).func is function
    assert inspect.getdoc(function)


@pytest.mark.parametrize(
    ("method", "keyword", "meant"),
    [
        ("integrated_gradients", "n_steps", "steps"),
        ("integrated_gradients", "baselines", "baseline"),
        ("smoothgrad", "nt_samples", "samples"),
        ("smoothgrad", "stdevs", "noise_level"),
        ("rise", "nb_samples", "masks"),
        ("grad_cam", "conv_layer", "layer"),
        ("occlusion", "sliding_window_shapes", "patch"),
    ],
)
def test_a_keyword_of_another_library_is_answered(method, keyword, meant):
    model = small_cnn()
    with pytest.raises(TypeError, match=f"^{method} has no argument '{keyword}'; perhaps {meant}$"):
        getattr(tfxai, method)(model, **{keyword: 3})


def test_a_warning_is_shown_at_the_line_that_explains(cnn, images):
    for weight in cnn.weights:
        weight.assign(0 * weight)
    explainer = tfxai.gradient(cnn)
    with pytest.warns(UserWarning, match="zero everywhere") as told:
        explainer.explain(images, 0, verbose=0)
    assert {warning.filename for warning in told} == {__file__}


def test_an_explainer_answers_target(cnn, images):
    explainer = tfxai.gradient(cnn)
    with pytest.raises(TypeError, match="has no argument 'target'; perhaps targets"):
        explainer(images, target=1)
    with pytest.raises(TypeError, match="has no argument 'target'; perhaps targets"):
        explainer.explain(images, target=1)
    np.testing.assert_array_equal(explainer(images, targets=1), explainer(images, 1))
