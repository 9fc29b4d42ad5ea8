"""Fixtures that the tests share."""

import functools
import gc
import importlib.util
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.networks import digits, glyph_classifier, small_cnn
from tfxai.cli import main

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True, scope="session")
def _this_checkout():
    """Fail where a part of the package is another checkout's, as in another's environment."""
    expected = {"tfxai": ROOT / "tfxai", "tfxai.converters": ROOT / "converters"}
    for name, folder in expected.items():
        spec = importlib.util.find_spec(name)
        found = None if spec is None else Path(spec.origin).parent
        assert found == folder, f"{name} comes from {found}: run `pip install --editable .` here"
    yield
    for name, module in sys.modules.items():
        if name.split(".")[0] == "tfxai":
            file = Path(module.__file__)
            assert file.is_relative_to(ROOT), f"{name} comes from {file}"


@pytest.fixture(autouse=True, scope="session")
def _rare_garbage_collection():
    """Look seldom through a million objects: an eighth of the suite's time went into that."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(autouse=True)
def _fixed_seed():
    keras.utils.set_random_seed(0)


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype("float32")


@pytest.fixture
def cnn():
    return small_cnn()


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; give exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["tfxai", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture(scope="session")
def trained():
    """A function from an activation to a trained glyph classifier (accuracy > 0.9) and its data."""
    model_of = functools.cache(glyph_classifier)
    return lambda activation: (model_of(activation), *digits())
