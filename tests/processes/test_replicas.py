"""Explaining on several devices of one machine gives the numbers of one."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

TWO_DEVICES = """
import keras, numpy as np, tensorflow as tf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import tfxai
from tests.conftest import small_cnn, two_inputs
from tests.test_execution import METHODS

NAMES = ["smoothgrad", "fusiongrad", "pattern_attribution"]
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
images = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype("float32")
targets = np.arange(5)
with strategy.scope():
    model = small_cnn()
    explainers = {name: METHODS[name](model) for name in NAMES}
    two = two_inputs()
    of_two = tfxai.integrated_gradients(two, steps=5)
alone = small_cnn()
alone.set_weights(model.get_weights())
for name, explainer in explainers.items():
    # Five examples are three and two; one is the same on both devices.
    for count in (5, 1):
        found = explainer.explain(images[:count], targets[:count], verbose=0, seed=3)
        expected = METHODS[name](alone).explain(images[:count], targets[:count], verbose=0, seed=3)
        np.testing.assert_allclose(found.attributions, expected.attributions, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-6)
        for key, value in expected.diagnostics.items():
            np.testing.assert_allclose(found.diagnostics[key], value, rtol=1e-4, atol=1e-6)
    (traced,) = [g for key, g in explainer._runner._graphs.items() if key[0] == "replicas"]
    devices = {operation.device.split("/")[-1] for operation in traced.graph.get_operations()}
    assert {"device:CPU:0", "device:CPU:1"} <= devices, devices

inputs = {"image": np.ones((3, 6, 6, 1), "float32"), "row": np.ones((3, 4), "float32")}
other = two_inputs()
other.set_weights(two.get_weights())
expected = tfxai.integrated_gradients(other, steps=5).explain(inputs, [0, 1, 2], verbose=0)
found = of_two.explain(inputs, [0, 1, 2], verbose=0)
for key, value in expected.attributions.items():
    np.testing.assert_allclose(found.attributions[key], value, rtol=1e-5, atol=1e-6)

# After a training each replica has moving averages of its own; the model's are the first's.
with strategy.scope():
    trained = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(),
                                keras.layers.Dense(6, "relu"), keras.layers.Dense(3)])
    trained.compile("sgd", "mse")
    explainer = tfxai.gradient_times_input(trained)
random = np.random.default_rng(1)
trained.fit(random.normal(size=(40, 4)), random.normal(size=(40, 3)), batch_size=10, verbose=0)
mean = trained.layers[0].moving_mean.value
assert not np.array_equal(*map(np.asarray, mean.values))
again = keras.models.clone_model(trained)
again.set_weights(trained.get_weights())
x = random.normal(size=(4, 4)).astype("float32")
found = explainer.explain(x, 1, verbose=0).attributions
expected = tfxai.gradient_times_input(again).explain(x, 1, verbose=0).attributions
np.testing.assert_allclose(found, expected, rtol=1e-6)
with strategy.scope():
    loaded = keras.models.clone_model(trained)
    loaded.set_weights(trained.get_weights())
    explainer = tfxai.gradient_times_input(loaded)
found = explainer.explain(x, 1, verbose=0).attributions
np.testing.assert_allclose(found, expected, rtol=1e-6)
assert [key[0] for key in explainer._runner._graphs if key[0] != "read"] == ["replicas"]
print("equal")
"""


def test_equal_numbers_on_two_devices():
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip().endswith("equal"), done.stderr[-3000:]
