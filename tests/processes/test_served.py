"""What is exported, in processes without tfxai: its numbers, and TensorFlow's command line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfxai
from tests.methods import BUILDERS
from tfxai.serving import saved_model

FRESH = """
import sys, json
sys.modules["tfxai"] = None  # an import of it would raise
sys.modules["keras"] = None
import numpy as np
import tensorflow as tf

folder = sys.argv[1]
loaded = tf.saved_model.load(folder + "/served")
given = np.load(folder + "/given.npz")
found = {}
for name, signature in loaded.signatures.items():
    asked = {} if name == "serving_default" else {
        "targets": tf.constant(given["targets"]), "seed": tf.constant(7)}
    for key, value in signature(inputs=tf.constant(given["inputs"]), **asked).items():
        found[name + "." + key] = value.numpy()
found["by_default"] = loaded.explain_by_default(given["inputs"])["attributions"].numpy()
np.savez(folder + "/found.npz", **found)
"""


def in_a_fresh_process(folder):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(np.load(folder / "found.npz"))


@pytest.mark.filterwarnings("ignore:.*not converged after 40 samples")
def test_every_method_in_a_fresh_process_without_tfxai(cnn, images, tmp_path):
    """CASO and the masks included; the numbers are those of the explainer, to the last digit."""
    built = {name: build(cnn) for name, build in BUILDERS.items()}
    kinds = {explainer.settings["method"]: name for name, explainer in built.items()}
    explainers = {name: built[name] for name in kinds.values()}
    simple = tfxai.smoothgrad(cnn, samples=3)
    tfxai.export(cnn, tmp_path / "served", {**explainers, "by_default": simple})
    targets = np.array([1, -1, 0, 4, -1], np.int32)
    np.savez(tmp_path / "given.npz", inputs=images, targets=targets)
    found = in_a_fresh_process(tmp_path)
    np.testing.assert_array_equal(found["serving_default.outputs"], cnn(images))
    np.testing.assert_array_equal(found["by_default"], simple.explain(images).attributions)
    predicted = cnn(images).numpy().argmax(1)
    chosen = np.where(targets < 0, predicted, targets)
    for name, explainer in explainers.items():
        record = explainer.explain(images, chosen, verbose=0, seed=7)
        answer = {k.removeprefix(f"explain_{name}."): v for k, v in found.items()
                  if k.startswith(f"explain_{name}.")}  # fmt: skip
        np.testing.assert_array_equal(answer["attributions"], record.attributions, err_msg=name)
        np.testing.assert_array_equal(answer["targets"], chosen)
        np.testing.assert_array_equal(answer["scores"], record.scores)
        for key, value in record.diagnostics.items():
            np.testing.assert_array_equal(answer[key], value, err_msg=f"{name}.{key}")
    told = saved_model.metadata(tmp_path / "served")
    assert set(told["parity"].values()) == {0.0}
    assert told["explainers"][kinds["igos"]]["method"] == "igos"
    assert {"caso", "cafo", "rise", "occlusion", "fusiongrad", "pattern_net"} < set(kinds)
    assert told["versions"]["tfxai"] == tfxai.__version__


def test_the_command_line_tool_of_tensorflow(cnn, tmp_path):
    served = tfxai.export(
        cnn, tmp_path / "served", {"ig": tfxai.integrated_gradients(cnn, steps=9)}
    )
    program = Path(sys.executable).parent / "saved_model_cli"
    options = ["--dir", str(served), "--tag_set", "serve", "--signature_def", "explain_ig"]
    shown = subprocess.run([program, "show", *options], capture_output=True, text=True)
    for text in ("inputs['inputs']", "inputs['targets']", "inputs['seed']", "completeness_gap"):
        assert text in shown.stdout
    arrays = {"inputs": np.ones((2, 8, 8, 3), "float32")}
    arrays |= {"targets": np.array([0, -1], np.int32), "seed": np.int32(0)}
    for name, value in arrays.items():
        np.save(tmp_path / f"{name}.npy", value)
    given = ";".join(f"{name}={tmp_path / name}.npy" for name in arrays)
    ran = subprocess.run(
        [program, "run", *options, "--inputs", given], capture_output=True, text=True
    )
    assert "Result for output key attributions" in ran.stdout, ran.stderr[-2000:]
