"""Time and memory of fitting patterns, against the forward passes over the same images.

    python examples/benchmarks/pattern_fit.py [--images 96] [--rounds 3] [--model VGG16]

Weights and images are random: neither matters to time or memory, and memory does not depend on
the number of images. Forward passes and fits take turns.
"""

import argparse
import os
import resource
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np

import tfxai

BATCH = 8


def main():
    parser = argparse.ArgumentParser(description="Time and memory of fitting patterns.")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="VGG16")
    arguments = parser.parse_args()
    model = getattr(keras.applications, arguments.model)(weights=None)
    random = np.random.default_rng(0)
    images = random.normal(size=[arguments.images, *model.input_shape[1:]]).astype("float32")
    model.predict(images[:BATCH], verbose=0)
    before = peak_mib()
    print(f"{arguments.model}, {len(images)} images of {images.shape[1:]}, in batches of {BATCH}")
    for _ in range(arguments.rounds):
        forward = seconds(lambda: model.predict(images, batch_size=BATCH, verbose=0))
        fit = seconds(lambda: tfxai.fit_patterns(model, images, batch_size=BATCH, verbose=0))
        print(f"forward {forward:.1f} s, fit {fit:.1f} s, ratio {fit / forward:.2f}", flush=True)
    print(f"peak memory {peak_mib():.0f} MiB, of which {before:.0f} before the first fit")


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
