"""Time of fitting patterns in units of a forward pass, and the memory that it takes.

    python examples/benchmarks/pattern_fit.py [--model VGG16] [--batches 20] [--batch 8]

Weights and images are random: neither matters to time or memory, and memory does not depend on
the number of images. A fit on one batch tells the time of tracing the model and of solving for the
patterns, which is subtracted. Forward passes and fits take turns. With and without oneDNN
(TF_ENABLE_ONEDNN_OPTS=1 or 0) the figures differ.
"""

import argparse
import os
import resource
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
import tensorflow as tf

import tfxai


def main():
    parser = argparse.ArgumentParser(description="Time and memory of fitting patterns.")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="VGG16")
    arguments = parser.parse_args()
    batches, size = arguments.batches, arguments.batch
    model = getattr(keras.applications, arguments.model)(weights=None)
    shape = [(batches + 1) * size, *model.input_shape[1:]]
    images = np.random.default_rng(0).normal(size=shape).astype("float32")
    forward = tf.function(lambda x: model(x, training=False), autograph=False)
    one = tf.constant(images[:size])
    forward(one)
    before = peak_mib()

    def fit(count):
        tfxai.fit_patterns(model, images[: count * size], batch_size=size, verbose=0)

    print(f"{arguments.model}, batches of {size} images of {shape[1:]}")
    for _ in range(arguments.rounds):
        forward_pass = seconds(lambda: [forward(one) for _ in range(batches)]) / batches
        overhead = seconds(lambda: fit(1))
        batch = (seconds(lambda: fit(batches + 1)) - overhead) / batches
        print(
            f"forward pass {forward_pass:.2f} s, batch of a fit {batch:.2f} s, "
            f"ratio {batch / forward_pass:.2f}; tracing and solving {overhead - batch:.1f} s",
            flush=True,
        )
    print(f"peak memory {peak_mib():.0f} MiB, of which {before:.0f} before the first fit")


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
