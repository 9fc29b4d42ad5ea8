"""A part of the matrix of examples/benchmarks/architectures: small networks x all methods.

No map is wrong by its independent check, nothing crashes, and remedies work when followed.
"""

import importlib

import keras
import numpy as np
import pytest

import tfxai
from tests.examples import FOLDER
from tests.networks import without_biases
from tests.thorough import quick

SCRIPTS = FOLDER / "benchmarks" / "architectures"
QUICK = ("table, batch norm",)
THOROUGH = (
    *(
        "cnn",
        "two inputs, dict",
        "transformer encoder",
        "residual, batch norm",
        "swish, squeeze and excitation",
        "LSTM",
        "Conv1D",
        "float64",
    ),
    *("text, bag of words", "detector", "open size", "volumes", "binary, sigmoid"),
)
OF_TODAY = ("vision transformer", "MobileNetV3Small", "EfficientNetV2B0", "ConvNeXtTiny")
"""Networks for which rules are extended."""
RULES = (
    *("guided_backprop", "deconvnet", "guided_grad_cam", "excitation_backprop", "pattern_net"),
    *("pattern_attribution", "pattern_guided_integrated_gradients"),
)
REMEDIES = [
    ("int8", "guided_backprop"),  # passthrough=
    ("int8", "pattern_attribution"),  # passthrough=, in fit_patterns too
    ("two inputs, list", "grad_cam"),  # inputs=
]
"""Networks, and methods that refuse them with a remedy."""


@pytest.fixture
def script(monkeypatch):
    """A function that imports a script of the matrix by its name; precision is reset afterwards."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", quick([*QUICK, *THOROUGH], *QUICK))
def test_no_cell_is_wrong_or_crashes(name, script):
    cells = list(script("matrix").cells(name))
    reference, *of_methods = cells
    assert reference["state"] == "ok", reference
    bad = {
        cell["method"]: cell["message"]
        for cell in of_methods
        if cell["state"] in ("wrong", "crashed")
    }
    assert not bad
    fine = [cell for cell in of_methods if cell["state"] in ("ok", "extended")]
    assert len(fine) >= 3
    followed = {cell["method"]: cell["followed"] for cell in of_methods if "followed" in cell}
    assert "wrong" not in followed.values(), followed


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "method"), REMEDIES)
def test_a_remedy_that_is_named_works_where_it_is_followed(name, method, script):
    _, cell = script("matrix").cells(name, [method])
    assert cell["state"] == "refused"
    assert cell["remedy"] in cell["message"]
    assert cell["followed"] in ("ok", "extended")


def test_a_check_finds_what_is_wrong(script):
    """The checks can fail: a map that is scaled by 1.01 is called wrong."""
    relative_error = script("float64_twin").relative_error
    network = script("catalogue").NETWORKS["cnn"]
    model = network.model()
    twin = script("float64_twin").Reference(network, model)
    gradient = twin.gradient(network.examples(3), (1, 0, 2))
    assert relative_error(1.01 * gradient, gradient) > network.tolerance
    setup = script("builders").Setup(
        network, model, script("float64_twin").Reference(network, model)
    )
    model.layers[-1].kernel.assign(1.01 * model.layers[-1].kernel)
    assert script("cells").run("gradient", setup)["state"] == "wrong"


def test_the_page_has_each_state_and_groups_refusals(script):
    cell = {"network": "a", "family": "images"}
    results = [
        {**cell, "method": "(reference)", "state": "ok", "error": 0.0},
        {**cell, "method": "gradient", "state": "ok", "error": 1e-7},
        {**cell, "method": "grad_cam", "state": "undefined", "message": "no positions"},
        {**cell, "method": "igos", "state": "refused", "message": "layer='x' is 3 wide"},
        {**cell, "method": "rise", "state": "refused", "message": "layer='y' is 4 wide"},
        {**cell, "method": "cafo", "state": "crashed", "message": "IndexError: 3"},
    ]
    page = script("page")
    assert page.shares(results)[1] == 1 / 4
    written = page.page(results)
    assert "| 2 | layer='...' is ... wide | 2 none is known to the driver |" in written
    assert "- a, `cafo`: IndexError: 3" in written


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", quick(OF_TODAY))
def test_every_rule_explains_networks_of_today(name, script):
    """Finite, not constant, and an example alone as in a batch; and equal to twins where they are.

    The twins of the matrix have the rule of guided backprop or deconvnet at each activation.
    """
    reference, *of_methods = script("matrix").cells(name, RULES)
    assert reference["state"] == "ok", reference
    states = {cell["method"]: (cell["state"], cell.get("message")) for cell in of_methods}
    assert states == dict.fromkeys(RULES, ("extended", None))


def network_of_today(name, script):
    """A network with the statistics and weights that the matrix gives it, and examples."""
    network = script("catalogue").NETWORKS[name]
    return network.model(), network.examples(3), network


@pytest.mark.thorough
@pytest.mark.parametrize("name", OF_TODAY[:-1])
def test_patterns_of_networks_of_today_stand_in_for_their_weights(name, script):
    model, _, network = network_of_today(name, script)
    patterns = tfxai.fit_patterns(model, network.examples(24, seed=2), verbose=0)
    assert max(quality.error for quality in patterns.report) < 1e-3
    assert np.median([quality.dead for quality in patterns.report]) < 0.1


@pytest.mark.thorough
@pytest.mark.parametrize("name", OF_TODAY[:-1])
def test_excitation_of_networks_of_today_conserves_probability(name, script):
    model, x, _ = network_of_today(name, script)
    without_biases(model)
    total = tfxai.excitation_backprop(model)(x, [1, 0, 2]).numpy().sum((1, 2, 3))
    if name == "vision transformer":  # What reaches the class token reaches no pixel.
        assert (total > 0.01).all()
        assert (total < 1).all()
    else:
        np.testing.assert_allclose(total, 1, rtol=1e-9)


@pytest.mark.thorough
@pytest.mark.parametrize("builder", [tfxai.guided_backprop, tfxai.deconvnet])
def test_with_relus_in_it_a_network_of_today_has_the_rule_of_the_paper(builder, script):
    model, x, _ = network_of_today("EfficientNetV2B0", script)

    def with_relus(layer):
        config = layer.get_config()
        if config.get("activation") in ("swish", "silu"):
            config["activation"] = "relu"
        return type(layer).from_config(config)

    twin = keras.models.clone_model(model, clone_function=with_relus)
    twin.set_weights(model.get_weights())
    gates = {"passthrough": ["Sigmoid"]}
    maps = builder(twin, **gates)(x, 1)
    assert np.abs(maps).max() > 0
    np.testing.assert_array_equal(maps, builder(twin, extend=False, **gates)(x, 1))
    assert not np.allclose(maps, builder(model, **gates)(x, 1))
