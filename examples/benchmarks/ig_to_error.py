"""Time and gradients that integrated gradients needs to come within 5 % of its limit.

Networks: a ResNet50 that was converted from ONNX (tests/onnx_files, random weights) on random
images, and EfficientNet-Lite0 on photos. The truth is the midpoint rule with many
nodes. Fixed rules are given the fewest steps of a ladder at which the mean relative L2 error of
the maps is at most 5 %; the adaptive rule also its own tolerance=.05, which no reader has to know
the truth for. Times are of whole calls, the shortest of three, interleaved.

    python examples/benchmarks/ig_to_error.py [images of each network, 1 to 4]
"""

import sys
import time
from pathlib import Path

import numpy as np
from zoo_photos import photos

import tfxai
from tfxai import quadrature, zoo
from tfxai.converters import from_onnx

WANTED = 0.05
LADDER = (9, 13, 17, 21, 25, 30, 36, 43, 51, 61, 75, 90, 108, 130, 156, 200)
TRUTH_STEPS = 1024
PHOTOS = (0, 5, 10, 15)
REPEATS = 3
ONNX_FILES = Path(__file__).parents[2] / "tests" / "onnx_files"
RULES = {
    "adaptive": "adaptive",
    "Gauss-Legendre": quadrature.gauss_legendre,
    "trapezoid": quadrature.trapezoid,
    "right Riemann": quadrature.right_riemann,
}


def lite0():
    classifier = zoo.load("efficientnet-lite0")
    return classifier.model, photos(classifier, PHOTOS)


def resnet():
    model = from_onnx(ONNX_FILES / "resnet50_legacy.onnx")
    random = np.random.default_rng(0)
    return model, random.normal(size=(4, *model.input_shape[1:])).astype("float32")


def errors(maps, truth):
    """Give the relative L2 error of each map."""
    maps, truth = (x.reshape(len(x), -1) for x in (maps, truth))
    return np.linalg.norm(maps - truth, axis=1) / np.linalg.norm(truth, axis=1)


def fewest_steps(model, x, targets, rule, truth):
    """Give the explainer with the fewest steps of the ladder that is near enough, by bisection.

    Also gives its steps and mean error. If no steps are enough, these are the most of the ladder.
    """

    def with_error(steps):
        explainer = tfxai.integrated_gradients(model, steps=steps, quadrature=rule)
        return explainer, steps, errors(np.asarray(explainer(x, targets)), truth).mean()

    low, high, found = 0, len(LADDER) - 1, None
    while low < high:
        middle = (low + high) // 2
        tried = with_error(LADDER[middle])
        if tried[-1] <= WANTED:
            high, found = middle, tried
        else:
            low = middle + 1
    return found or with_error(LADDER[high])


def compare(name, model, x):
    targets = np.argmax(model(x), -1)
    exact = tfxai.integrated_gradients(model, steps=TRUTH_STEPS, quadrature=quadrature.midpoint)
    truth = np.asarray(exact(x, targets))
    found = {title: fewest_steps(model, x, targets, r, truth) for title, r in RULES.items()}
    tolerant = tfxai.integrated_gradients(model, tolerance=WANTED)
    record = tolerant.explain(x, targets, verbose=0)
    mean_steps = record.diagnostics["steps"].mean()
    found["adaptive, tolerance=.05"] = (
        tolerant,
        mean_steps,
        errors(record.attributions, truth).mean(),
    )
    times = {title: [] for title in found}
    for explainer, *_ in found.values():
        explainer(x, targets)
    for _ in range(REPEATS):
        for title, (explainer, *_) in found.items():
            start = time.perf_counter()
            np.asarray(explainer(x, targets))
            times[title].append((time.perf_counter() - start) / len(x))
    peers = [min(times[title]) for title in RULES if title != "adaptive"]
    print(
        f"\n**{name}**\n\n| rule | gradients | map error | s an image | best peer / this | spread |"
    )
    print("|---|---|---|---|---|---|")
    for title, (_, steps, error) in found.items():
        best, worst = min(times[title]), max(times[title])
        print(
            f"| {title} | {steps:.0f} | {error:.3f} | {best:.3f} | {min(peers) / best:.2f} "
            f"| {worst / best - 1:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else len(PHOTOS)
    for name, load in (("ResNet50, converted from ONNX", resnet), ("EfficientNet-Lite0", lite0)):
        model, images = load()
        compare(name, model, images[:count])
