"""What TensorFlow's own switch to bfloat16 on CPUs gains, and how far the maps are from float32's.

The switch is `auto_mixed_precision_onednn_bfloat16` of `tf.config.optimizer`; it needs oneDNN and
a CPU with AVX512_BF16 or AMX. Prints for each method the times, and the cosines of the maps, for
random images and a ResNet50 with random weights, and for photos and EfficientNet-Lite0.

    TF_ENABLE_ONEDNN_OPTS=1 python examples/benchmarks/bfloat16.py
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from zoo_photos import photos

import tfxai
from tfxai import zoo

SWITCH = "auto_mixed_precision_onednn_bfloat16"
NETWORKS = ("ResNet50", "efficientnet-lite0")
REPEATS = 2
IMAGES = 4
METHODS = {
    "gradient": tfxai.gradient,
    "guided_backprop": tfxai.guided_backprop,
    "integrated_gradients, 16 steps": lambda m: tfxai.integrated_gradients(m, steps=16),
    "smoothgrad, 16 samples": lambda m: tfxai.smoothgrad(m, samples=16),
    "grad_cam": tfxai.grad_cam,
    "rise, 64 masks": lambda m: tfxai.rise(m, masks=64),
}


def main():
    print("| network | method | s, float32 | s, bfloat16 | ratio | mean cosine | smallest |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for network in NETWORKS:
            found = []
            for switch in ("off", "on"):
                file = Path(folder) / f"{network}-{switch}.npz"
                # The switch acts on graphs that are made after it, so each has its own process.
                command = [sys.executable, __file__, network, switch, str(file)]
                subprocess.run(command, check=True)
                found.append(dict(np.load(file)))
            print_comparison(network, *found)


def print_comparison(network, single, half):
    for name in METHODS:
        times = [float(f[f"{name} seconds"]) for f in (single, half)]
        a, b = (f[name].reshape(len(f[name]), -1).astype("float64") for f in (single, half))
        cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        print(
            f"| {network} | {name} | {times[0]:.2f} | {times[1]:.2f} | {times[0] / times[1]:.2f} "
            f"| {cosines.mean():.3f} | {cosines.min():.3f} |",
            flush=True,
        )


def measure(network, switch, file):
    if switch == "on":
        tf.config.optimizer.set_experimental_options({SWITCH: True})
    model, x = load(network)
    targets = np.arange(len(x))
    found = {}
    for name, make in METHODS.items():
        explainer = make(model)
        explainer(x, targets, seed=0)
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            found[name] = explainer(x, targets, seed=0).numpy()
            times.append(time.perf_counter() - start)
        found[f"{name} seconds"] = min(times)
    np.savez(file, **found)


def load(network):
    if network == "ResNet50":
        keras.utils.set_random_seed(0)
        model = keras.applications.ResNet50(weights=None)
        random = np.random.default_rng(0)
        return model, random.uniform(-1, 1, (IMAGES, 224, 224, 3)).astype("float32")
    classifier = zoo.load(network)
    return classifier.model, photos(classifier, tuple(range(IMAGES)))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        measure(sys.argv[1], sys.argv[2], sys.argv[3])
    else:
        main()
