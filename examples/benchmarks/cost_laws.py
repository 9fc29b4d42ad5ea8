"""How the time of a call grows with images and samples, what a call costs, and whether calls age.

Prints the exponent b of time = a n^b for each method on EfficientNet-Lite0, by least squares of
the logarithms: 1 is linear. Then, on a model that costs nothing, the milliseconds of a call, and
how they and the memory of the process changed in the course of a thousand calls.

    python examples/benchmarks/cost_laws.py
"""

import gc
import time

import keras
import numpy as np
import tensorflow as tf

import tfxai
from tfxai import quadrature, zoo

REPEATS = 5
IMAGES = (8, 16, 32)
SAMPLES = (24, 48, 96)
CALLS = 1000
WINDOW = 100
"""Calls at the beginning and at the end whose times are compared."""


def seconds(calls):
    """Give the shortest of a few times of each (explainer, inputs); the calls take turns."""
    times = []
    for explainer, x in calls:
        explainer(x, 3)
    for _ in range(REPEATS):
        times.append([])
        for explainer, x in calls:
            start = time.perf_counter()
            np.asarray(explainer(x, 3))
            times[-1].append(time.perf_counter() - start)
    return np.min(times, 0)


def print_law(name, unit, counts, times):
    exponent = np.polyfit(np.log(counts), np.log(times), 1)[0]
    per_unit, constant = np.polyfit(counts, times, 1)
    listed = " ".join(f"{t:.3f}" for t in times)
    print(
        f"| {name} | {unit} {', '.join(map(str, counts))} | {listed} | {exponent:.3f} "
        f"| {1e3 * per_unit:.1f} | {1e3 * constant:+.0f} |",
        flush=True,
    )


def laws():
    model = zoo.load("efficientnet-lite0").model
    x = np.random.default_rng(0).uniform(-1, 1, (max(IMAGES), 224, 224, 3)).astype("float32")
    of_images = {
        "gradient": tfxai.gradient(model),
        "guided_backprop": tfxai.guided_backprop(model, passthrough=["Relu6"]),
        "grad_cam": tfxai.grad_cam(model),
        "smoothgrad, 3 samples": tfxai.smoothgrad(model, samples=3),
    }
    of_samples = {
        "smoothgrad": lambda n: tfxai.smoothgrad(model, samples=n),
        "integrated_gradients, Gauss": lambda n: tfxai.integrated_gradients(
            model, steps=n, quadrature=quadrature.gauss_legendre
        ),
        "integrated_gradients": lambda n: tfxai.integrated_gradients(model, steps=n),
        "rise": lambda n: tfxai.rise(model, masks=n),
    }
    print("| method | n | seconds | exponent | ms for one more | ms at n = 0 |")
    print("|---|---|---|---|---|---|")
    for name, explainer in of_images.items():
        times = seconds([(explainer, x[:n]) for n in IMAGES])
        print_law(name, "images", IMAGES, times)
    for name, make in of_samples.items():
        times = seconds([(make(n), x[:1]) for n in SAMPLES])
        print_law(name, "samples", SAMPLES, times)


def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def calls():
    image = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(4, 3, activation="relu")(image)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(maps))
    x = tf.ones([1, 8, 8, 3])
    explainers = {
        "gradient": tfxai.gradient(model),
        "grad_cam": tfxai.grad_cam(model),
        "guided_backprop": tfxai.guided_backprop(model),
        "smoothgrad, 1 sample": tfxai.smoothgrad(model, samples=1),
        "integrated_gradients, 1 step": tfxai.integrated_gradients(model, steps=1),
        "rise, 1 mask": tfxai.rise(model, masks=1),
    }
    print("\n| method | ms a call | last calls / first | MiB more after them |\n|---|---|---|---|")
    for name, explainer in explainers.items():
        for targets in (None, 1):
            explainer(x, targets, seed=0)
            times = []
            for number in range(CALLS):
                if number == WINDOW:
                    gc.collect()
                    before = resident_mib()
                start = time.perf_counter()
                explainer(x, targets, seed=number).numpy()
                times.append(time.perf_counter() - start)
            gc.collect()
            last, first = np.median(times[-WINDOW:]), np.median(times[:WINDOW])
            who = "predicted class" if targets is None else "given class"
            print(
                f"| {name}, {who} | {1e3 * np.median(times):.2f} | {last / first:.2f} "
                f"| {resident_mib() - before:+.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    laws()
    calls()
