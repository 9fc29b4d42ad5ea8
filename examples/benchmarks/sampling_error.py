"""The errors that SmoothGrad states against the true ones, and what antithetic pairs gain.

EfficientNet-Lite0 on real photos. The truth is the mean of all samples but those that are judged;
it is drawn in groups of 25, so that each number of samples is tried many times over. Prints two
Markdown tables. The default, 2 photos and 128 groups, needs about eight minutes.
"""

import argparse

import numpy as np
from zoo_photos import photos

import tfxai
from tfxai import zoo

PHOTOS = (0, 15)
GROUP = 25
COUNTS = (50, 100, 200, 400)
RESOLUTION = 28


def groups(explainer, x, targets, count, first_seed):
    """Give independent maps ``[count, B, H, W, C]`` and their standard errors."""
    records = [explainer.explain(x, targets, seed=first_seed + k, verbose=0) for k in range(count)]
    return [
        np.stack(v)
        for v in zip(
            *((r.attributions, r.diagnostics["standard_error"]) for r in records), strict=True
        )
    ]


def picture(maps):
    """Give |map| summed over channels in the cells of the grid, ``[B, cells]``, of length 1."""
    count, height = maps.shape[:2]
    side = height // RESOLUTION
    sizes = np.abs(maps).sum(-1).reshape(count, RESOLUTION, side, RESOLUTION, side)
    cells = sizes.mean((2, 4)).reshape(count, -1)
    return cells / np.linalg.norm(cells, axis=1, keepdims=True)


def sine(a, b):
    return np.sqrt(1 - (a * b).sum(1) ** 2)


def length(maps):
    return np.linalg.norm(maps.reshape(len(maps), -1), axis=1)


def true_errors(maps, members):
    """Judge the mean of some groups by that of all others: map and picture errors ``[B]``."""
    mine = maps[members].mean(0)
    others = np.delete(maps, members, axis=0).mean(0)
    return length(mine - others) / length(others), sine(picture(mine), picture(others))


def compare(classifier, x, targets, maps):
    """Print true and stated errors by number of samples, means over photos."""
    print("| samples | map error | stated | picture error | stated |\n|---|---|---|---|---|")
    for count in COUNTS:
        size = count // GROUP
        starts = range(0, len(maps) - size + 1, size)
        true = np.mean([true_errors(maps, list(range(s, s + size))) for s in starts], (0, 2))
        explainer = tfxai.smoothgrad(classifier.model, samples=count)
        diagnostics = explainer.explain(x, targets, seed=-1, verbose=0).diagnostics
        stated = [diagnostics[name].mean() for name in ("map_error", "pooled_error")]
        cells = [true[0], stated[0], true[1], stated[1]]
        print(f"| {count} | " + " | ".join(f"{c:.3f}" for c in cells) + " |", flush=True)


def antithetic_gain(classifier, x, targets, maps, errors):
    """Print the error of 24 antithetic samples relative to that of 24 independent ones.

    By the standard errors, whose mean square over all features is precise.
    """
    explainer = tfxai.smoothgrad(classifier.model, samples=GROUP - 1, antithetic=True)
    _, paired = groups(explainer, x, targets, len(maps) // 8, 10_000)
    alone = (errors**2).mean((0, 2, 3, 4)) * GROUP / (GROUP - 1)
    ratios = np.sqrt((paired**2).mean((2, 3, 4)) / alone)
    spread = ratios.std() / np.sqrt(ratios.size)
    print(f"\nAntithetic pairs: error x {ratios.mean():.3f} +- {spread:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=128)
    options = parser.parse_args()
    classifier = zoo.load("efficientnet-lite0")
    x = photos(classifier, PHOTOS)
    targets = classifier.model.predict(x, verbose=0).argmax(1)
    explainer = tfxai.smoothgrad(classifier.model, samples=GROUP)
    maps, errors = groups(explainer, x, targets, options.groups, 1000)
    compare(classifier, x, targets, maps)
    antithetic_gain(classifier, x, targets, maps, errors)


if __name__ == "__main__":
    main()
