"""I-GOS against a plain transcription of the published algorithm, on the same photos.

The transcription takes one image, one point of the path and one trial of the line search at a time,
as the authors' code does, in traced TensorFlow functions. "batched path" has the S points of the
path in one batch. tfxai runs with the published descent and with its default; all have the same
lambdas, iterations and noise level. Photos are timed one by one, and in tfxai also together. Runs
are interleaved, and the first round, which traces, is not counted.
"""

import argparse
import time
import warnings

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

import tfxai
from tfxai import heads, masks, metrics, scores, zoo
from tfxai.baselines import blur
from tfxai.methods.igos import preset

PHOTOS = (0, 2, 4)
STEPS, ITERATIONS = 20, 15
ARMIJO, DECAY, LONGEST, SHORTEST = 1e-4, 0.2, 200.0, 1e-5


def transcription(model, lambda1, lambda2, noise, *, batched):
    """Give (image, reference, target, resolution) -> mask, trials; METHODS 5.1 to 5.3."""
    scored = heads.scored(model, scores.probability)

    def along(mask, image, reference, target, shares):
        points = masks.blend(image, reference, shares * mask)
        spread = noise * tf.math.reduce_std(image)
        return scored(points + spread * tf.random.normal(tf.shape(points)), target)

    @tf.function(reduce_retracing=True)
    def gradient(mask, image, reference, target, shares):
        copies = tf.tile(mask, [tf.size(shares), 1, 1])
        values = along(copies, image, reference, tf.repeat(target, tf.size(shares)), shares)
        return tf.reduce_sum(tf.gradients(values, copies)[0], 0, keepdims=True)

    regulariser = masks.Regulariser(lambda1, lambda2, 2)

    @tf.function(reduce_retracing=True)
    def objective(mask, image, reference, target):
        lost = scored(masks.blend(image, reference, mask), target)
        return (lost + regulariser(mask))[0]

    @tf.function
    def price_gradient(mask):
        return tf.gradients(regulariser(mask), mask)[0]

    def optimise(image, reference, target, resolution):
        mask = tf.ones([1, resolution, resolution])
        trials = 0
        shares = tf.reshape(tf.range(1, STEPS + 1, dtype=tf.float32) / STEPS, [-1, 1, 1])
        parts = [shares] if batched else [shares[s : s + 1] for s in range(STEPS)]
        for _ in range(ITERATIONS):
            start = objective(mask, image, reference, target)
            path = [gradient(mask, image, reference, target, part) for part in parts]
            total = tf.add_n(path) / STEPS + price_gradient(mask)
            squared = tf.reduce_sum(total**2)
            alpha = LONGEST
            while True:
                new = tf.clip_by_value(mask - alpha * total, 0, 1)
                if alpha < SHORTEST:
                    break
                trials += 1
                change = objective(new, image, reference, target) - start
                if change <= -alpha * ARMIJO * squared:
                    break
                alpha *= DECAY
            mask = new
        return mask, trials

    return optimise, objective


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--resolution", type=int, default=28)
    parser.add_argument("--lambdas", type=float, nargs=2, help="the default's are the preset's")
    parser.add_argument("--noise", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    weights = None if arguments.weights == "none" else arguments.weights
    classifier = zoo.load(arguments.model, weights=weights)
    model, size, noise = classifier.model, arguments.resolution, arguments.noise
    files = [zoo.foolbox_photos()[i][0] for i in PHOTOS]
    photos = classifier.preprocess(zoo.crops(files, classifier.size))
    references = blur(tf.constant(photos), size=51, sigma=50.0)
    targets = model.predict(photos, verbose=0).argmax(1)
    lambda1, lambda2 = arguments.lambdas or preset((size, size))

    plain = {
        "plain": transcription(model, lambda1, lambda2, noise, batched=False),
        "plain, batched path": transcription(model, lambda1, lambda2, noise, batched=True),
    }
    options = {"resolution": size, "lambda1": lambda1, "lambda2": lambda2, "noise": noise}
    published = {"descent": "gradient", "longest_step": LONGEST}
    ours = {
        "tfxai, published descent": tfxai.igos(model, **options, **published),
        "tfxai": tfxai.igos(model, **options),
    }
    found = {}

    def note(name, seconds, masks_found, trials):
        found.setdefault(name, []).append((seconds / len(photos), masks_found, trials))

    def run_plain(name, optimise):
        start = time.perf_counter()
        results = [
            optimise(
                photos[i : i + 1], references[i : i + 1], tf.constant(targets[i : i + 1]), size
            )
            for i in range(len(photos))
        ]
        seconds = time.perf_counter() - start
        note(name, seconds, np.concatenate([m for m, _ in results]), sum(t for _, t in results))

    def run_ours(name, explainer, seed, *, together):
        start = time.perf_counter()
        parts = [photos] if together else [photos[i : i + 1] for i in range(len(photos))]
        chosen = [targets] if together else [targets[i : i + 1] for i in range(len(photos))]
        records = [
            explainer.explain(x, t, verbose=0, seed=seed)
            for x, t in zip(parts, chosen, strict=True)
        ]
        seconds = time.perf_counter() - start
        found_masks = np.concatenate([r.mask[..., 0] for r in records])
        note(name, seconds, found_masks, sum(r.numbers["trials"].sum() for r in records))

    warnings.simplefilter("ignore")
    for explainer in ours.values():
        explainer.explain(photos[:1], targets[:1], verbose=0)
    for round_ in range(arguments.rounds + 1):
        for name, (optimise, _) in plain.items():
            run_plain(name, optimise)
        for name, explainer in ours.items():
            run_ours(f"{name}, one by one", explainer, round_, together=False)
            run_ours(f"{name}, together", explainer, round_, together=True)
    objective = plain["plain"][1]
    table = Table("run", "s / photo", "ratio", "objective", "deletion", "insertion", "trials")
    slow = np.array([seconds for seconds, *_ in found["plain"][1:]])
    for name, rounds in found.items():
        seconds = np.array([s for s, *_ in rounds[1:]])
        ratios = slow / seconds
        values, curves = [], []
        for _, mask, _ in rounds[1:]:
            values.append(
                [
                    float(
                        objective(
                            tf.constant(mask[i : i + 1]),
                            photos[i : i + 1],
                            references[i : i + 1],
                            tf.constant(targets[i : i + 1]),
                        )
                    )
                    for i in range(len(photos))
                ]
            )
            curves.append(
                metrics.deletion_and_insertion(model, photos, 1 - mask, targets, substrate="blur")
            )
        numbers = [
            np.mean(values, 0),
            np.mean([c.deletion.auc for c in curves], 0),
            np.mean([c.insertion.auc for c in curves], 0),
        ]
        table.add_row(
            name,
            f"{seconds.mean():.2f}",
            f"{ratios.mean():.1f} ({ratios.min():.1f}-{ratios.max():.1f})",
            *(" ".join(f"{v:.3f}" for v in n) + f" | {n.mean():.3f}" for n in numbers),
            f"{np.mean([t for *_, t in rounds[1:]]) / len(photos):.0f}",
        )
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
