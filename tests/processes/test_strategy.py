"""Callbacks while a MirroredStrategy trains."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

STRATEGY = """
import sys
import keras, numpy as np, tensorflow as tf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import tfxai
from tests.test_callbacks import digits, fit, model_of
from tfxai.callbacks import ExplanationCallback, MetricCallback

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
images = digits()[0][400:403]
found = []
for watched in (False, True):
    with strategy.scope():
        model = model_of()
        explainers = {"ig": tfxai.integrated_gradients(model, steps=5)}
    callbacks = [
        ExplanationCallback(explainers, images, directory=sys.argv[1]),
        MetricCallback(explainers, images, ["deletion", "gini"]),
    ]
    history = fit(model, callbacks * watched).history
    found.append(model.get_weights())
for a, b in zip(*found, strict=True):
    np.testing.assert_array_equal(a, b)
assert np.isfinite(history["ig_deletion"]).all()
alone = model_of()
alone.set_weights(model.get_weights())
maps = tfxai.integrated_gradients(alone, steps=5).explain(images, 1, verbose=0).attributions
np.testing.assert_array_equal(explainers["ig"].explain(images, 1, verbose=0).attributions, maps)
print("equal")
"""


def test_in_a_distribution_strategy(tmp_path):
    """Two logical devices; explanations are those of one."""
    done = subprocess.run(
        [sys.executable, "-c", STRATEGY, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip().endswith("equal"), done.stderr[-3000:]
