"""A part of the matrix of examples/benchmarks/architectures: small networks x all methods.

No map is wrong by its independent check, nothing crashes, and remedies work when followed.
"""

import importlib

import keras
import pytest

from tests.examples import FOLDER
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
REMEDIES = {
    "int8": "guided_backprop",  # passthrough=
}
"""Networks -> a method that refuses it with a remedy."""


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
@pytest.mark.parametrize("name", REMEDIES)
def test_a_remedy_that_is_named_works_where_it_is_followed(name, script):
    _, cell = script("matrix").cells(name, [REMEDIES[name]])
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
