"""Peak memory and time of explanations of many images, or of many samples of one image.

Each runs in a fresh process; what loading the model and one prediction took is subtracted. Linux.

    python examples/benchmarks/peak_memory.py [--model ResNet50]
"""

import argparse
import os
import resource
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

WORKS = (
    ("gradient", 32),
    ("ig_50", 1),
    ("ig_50", 32),
    ("ig_adaptive", 32),
    ("smoothgrad_50", 32),
    ("rise_4000", 1),
)
"""Names of explainers, and the number of images."""


def main():
    parser = argparse.ArgumentParser(description="Peak memory of explanations.")
    parser.add_argument("--model", default="ResNet50", help="of keras.applications")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # of a process of its own
    arguments = parser.parse_args()
    if arguments.one:
        work, count = arguments.one
        measure(arguments.model, work, int(count))
        return
    print("| work | images | MiB above the loaded model | seconds |")
    print("|---|---|---|---|", flush=True)
    command = [sys.executable, __file__, "--model", arguments.model, "--one"]
    for work, count in WORKS:
        subprocess.run([*command, work, str(count)], check=True)


def measure(model_name, work, count):
    import keras
    import numpy as np

    import tfxai
    from tfxai.quadrature import gauss_legendre

    model = getattr(keras.applications, model_name)(weights=None)
    shape = (count, *model.input_shape[1:])
    images = np.random.default_rng(0).normal(size=shape).astype("float32")
    model(images[:1])
    before = peak_mib()
    explainer = {
        "gradient": lambda: tfxai.gradient(model),
        "ig_50": lambda: tfxai.integrated_gradients(model, steps=50, quadrature=gauss_legendre),
        "ig_adaptive": lambda: tfxai.integrated_gradients(model),
        "smoothgrad_50": lambda: tfxai.smoothgrad(model, samples=50),
        "rise_4000": lambda: tfxai.rise(model, masks=4000),
    }[work]()
    start = time.perf_counter()
    explainer.explain(images, 0, verbose=0)
    seconds = time.perf_counter() - start
    print(f"| {work} | {count} | {peak_mib() - before:.0f} | {seconds:.1f} |", flush=True)


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
