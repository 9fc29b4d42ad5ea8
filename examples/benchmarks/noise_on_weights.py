"""What NoiseGrad costs on ResNet50, against its gradients and its draws one by one.

NoiseGrad with 50 models, 50 plain gradients, and 50 draws of 25.6 million weights, interleaved.
Prints the times of each round and the ratio NoiseGrad / (gradients + draws).
"""

import argparse
from time import perf_counter

import keras
import numpy as np
import tensorflow as tf

import tfxai
from tfxai import kernels
from tfxai.methods.smoothing.weight_noise import noisy_weights, select_weights


def drawing(model):
    """Give a function that draws the weights of one noisy model, and does nothing with them."""

    def chosen():
        return select_weights(model, biases=True, statistics=False, exclude=())

    perturb = noisy_weights(chosen, kernels.gaussian, 0.005, multiply=True)

    @tf.function(input_signature=[tf.TensorSpec([2], tf.int32)])
    def draw(seed):
        return [value for _, value in perturb(seed)]

    return lambda k: draw(tf.constant([k, 0]))


def seconds(function):
    start = perf_counter()
    function()
    return perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args()
    model = keras.applications.ResNet50(weights=None)
    x = np.random.default_rng(0).normal(size=(options.batch, 224, 224, 3)).astype("float32")
    gradient = tfxai.gradient(model)
    noisegrad = tfxai.noisegrad(model, samples=options.samples)
    draw = drawing(model)
    runs = {
        "gradients": lambda: [gradient(x, 0).numpy() for _ in range(options.samples)],
        "draws": lambda: [draw(k)[0].numpy() for k in range(options.samples)],
        "NoiseGrad": lambda: noisegrad(x, 0).numpy(),
    }
    gradient(x, 0), draw(0), noisegrad(x, 0)  # traced, and warm
    ratios = []
    for _ in range(options.rounds):
        taken = {name: seconds(run) for name, run in runs.items()}
        ratios.append(taken["NoiseGrad"] / (taken["gradients"] + taken["draws"]))
        print(", ".join(f"{n} {t:.2f} s" for n, t in taken.items()), f"ratio {ratios[-1]:.3f}")
    print(f"ratio {np.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
