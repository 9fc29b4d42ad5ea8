"""What the race of examples/benchmarks/race computes without its peers."""

import importlib
import json

import numpy as np
import pytest

from tests.examples import FOLDER

RACE = FOLDER / "benchmarks" / "race"


@pytest.fixture
def script(monkeypatch):
    """A function that imports a script of the race by its name."""
    monkeypatch.syspath_prepend(str(RACE))
    return importlib.import_module


def test_ratios_are_of_the_peer_to_ours_round_by_round(script):
    assert script("table").ratios([2.0, 6.0], [1.0, 2.0]) == [2.0, 3.0]


def test_a_table_has_our_seconds_and_the_peers_ratios(script):
    results = {"tfxai": {"values": [1.0, 2.0, 4.0]}, "A": {"values": [3.0, 4.0, 4.0]}}
    results["B"] = {"error": "ValueError: no"}
    rows = {("gradient", "ResNet50", 10): results}
    written = script("table").comparison("Title", "s", ["tfxai", "A", "B", "C"], rows)
    assert "| work | model | images | tfxai, s | A | B | C |" in written
    assert "| gradient | ResNet50 | 10 | 2 (1 to 4) | 2 (1 to 3) | failed | – |" in written
    assert script("table").failures(rows) == "- B, gradient: ValueError: no\n"


def test_a_peer_is_shown_alone_where_ours_failed(script):
    rows = {("ig", "ViT", 1): {"tfxai": {"error": "x"}, "A": {"values": [3.0]}}}
    written = script("table").comparison("Title", "s", ["tfxai", "A"], rows)
    assert "| ig | ViT | 1 | failed | 3 (alone) |" in written


def test_cosines_are_the_smallest_of_an_image(script):
    cosine = script("race").cosine
    a = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, -1.0]])
    assert cosine(a, a) == pytest.approx(1)
    assert cosine(a, [[1, 1], [0, 0], [1, -1]]) == pytest.approx(0.5**0.5)
    assert cosine(a, abs(a)) == pytest.approx(1)


def test_the_gradient_has_every_setting_of_captum_other_works_the_fastest(script):
    names = [c.name for c in script("contestants").taking_part("gradient", ["captum"], None)]
    assert names == ["tfxai", "Captum +w", "Captum", "Captum CL +w", "Captum CL"]
    names = [c.name for c in script("contestants").taking_part("rise", ["captum"], "Captum")]
    assert names == ["tfxai", "Captum"]


def test_a_network_is_written_with_its_weights(script, tmp_path, cnn):
    script("keras_networks").write(cnn, "cnn", tmp_path)
    layers = json.loads((tmp_path / "cnn.json").read_text())
    assert [layer["name"] for layer in layers] == [layer.name for layer in cnn.layers]
    weights = np.load(tmp_path / "cnn.npz")
    assert len(weights.files) == len(cnn.weights)
