"""I-GOS against a plain transcription of the published algorithm, on the same photos.

The transcription takes one image, one point of the path and one trial of the line search at a time,
as the authors' code does, in traced TensorFlow functions. "batched path" has the S points of the
path in one batch. tfxai runs with the published descent and with its default; all have the same
lambdas, iterations and noise level. Photos are timed one by one, and in tfxai also together. Runs
are interleaved, and the first round, which traces, has one photo and is not counted.
"""

import argparse
import time
import warnings
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table
from zoo_photos import photos

import tfxai
from tfxai import metrics, scores, zoo
from tfxai.baselines import blur
from tfxai.core.layout import Layout
from tfxai.methods.masks.blending import blend
from tfxai.methods.masks.igos_settings import preset_lambdas
from tfxai.methods.masks.mask_cells import cells_of, split
from tfxai.methods.masks.masked_inputs import Examples
from tfxai.methods.masks.regulariser import Regulariser
from tfxai.models import scored_models

PHOTOS = (0, 2, 4)
STEPS, ITERATIONS = 20, 15
ARMIJO, DECAY, LONGEST, SHORTEST = 1e-4, 0.2, 200.0, 1e-5


def transcription(model, cells, lambda1, lambda2, noise, *, batched):
    """Give (image, reference, target) -> mask, a row of cells, and trials (Qi et al. 2020)."""
    scored = scored_models.differentiable(model, scores.probability)

    def blended(image, reference, masks):
        (points,) = blend(Examples([image], [reference], []), split(masks, [cells]), [cells])
        return points

    def along(mask, image, reference, target, shares):
        points = blended(image, reference, shares * mask)
        spread = noise * tf.math.reduce_std(image)
        return scored(points + spread * tf.random.normal(tf.shape(points)), target)

    @tf.function(reduce_retracing=True)
    def gradient(mask, image, reference, target, shares):
        copies = tf.tile(mask, [tf.size(shares), 1])
        values = along(copies, image, reference, tf.repeat(target, tf.size(shares)), shares)
        return tf.reduce_sum(tf.gradients(values, copies)[0], 0, keepdims=True)

    regulariser = Regulariser([cells], tf.constant([lambda1]), [lambda2], 2)

    @tf.function(reduce_retracing=True)
    def objective(mask, image, reference, target):
        lost = scored(blended(image, reference, mask), target)
        return (lost + regulariser(mask))[0]

    @tf.function
    def price_gradient(mask):
        return tf.gradients(regulariser(mask), mask)[0]

    def optimise(image, reference, target):
        mask = tf.ones([1, cells.size])
        trials = 0
        shares = tf.reshape(tf.range(1, STEPS + 1, dtype=tf.float32) / STEPS, [-1, 1])
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


class Case(NamedTuple):
    """What is explained."""

    photos: np.ndarray
    references: np.ndarray
    targets: np.ndarray
    resolution: int

    def row(self, i):
        """Give one photo, its baseline image and target."""
        part = slice(i, i + 1)
        return self.photos[part], self.references[part], tf.constant(self.targets[part])


class Run(NamedTuple):
    """One round of one program."""

    seconds: float
    """Per photo."""
    masks: np.ndarray
    trials: float
    """Per photo."""


def plain(case, optimise):
    """Optimise photo by photo with the transcription."""
    start = time.perf_counter()
    found = [optimise(*case.row(i)) for i in range(len(case.photos))]
    seconds = time.perf_counter() - start
    masks_found, trials = np.concatenate([m for m, _ in found]), sum(t for _, t in found)
    shape = [-1, case.resolution, case.resolution]
    return Run(seconds / len(found), masks_found.reshape(shape), trials / len(found))


def ours(explainer, case, seed, *, together):
    """Optimise photo by photo, or all photos together."""
    start = time.perf_counter()
    count = len(case.photos)
    parts = [slice(None)] if together else [slice(i, i + 1) for i in range(count)]
    records = [
        explainer.explain(case.photos[p], case.targets[p], verbose=0, seed=seed) for p in parts
    ]
    seconds = time.perf_counter() - start
    found = np.concatenate([record.mask[..., 0] for record in records])
    return Run(seconds / count, found, sum(r.diagnostics["trials"].sum() for r in records) / count)


def row(name, runs, slow, case, model, objective):
    """Give a line of the table: seconds, the ratio to the plain run, and what the masks are."""
    seconds = np.array([run.seconds for run in runs])
    ratios = np.array([run.seconds for run in slow]) / seconds
    values, deletion, insertion = [], [], []
    for run in runs:
        every = enumerate(run.masks)
        values += [float(objective(tf.constant(m.reshape(1, -1)), *case.row(i))) for i, m in every]
        found = metrics.deletion_and_insertion(
            model, case.photos, 1 - run.masks, case.targets, substrate="blur"
        )
        deletion.append(found.deletion.auc)
        insertion.append(found.insertion.auc)
    return (
        name,
        f"{seconds.mean():.2f}",
        f"{ratios.mean():.1f} ({ratios.min():.1f}-{ratios.max():.1f})",
        *(f"{np.mean(v):.3f}" for v in (values, deletion, insertion)),
        f"{np.mean([run.trials for run in runs]):.0f}",
    )


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--resolution", type=int, default=28)
    parser.add_argument("--lambdas", type=float, nargs=2, help="the default's are the preset's")
    parser.add_argument("--noise", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    weights = None if given.weights == "none" else given.weights
    classifier = zoo.load(given.model, weights=weights)
    model, size, noise = classifier.model, given.resolution, given.noise
    x = photos(classifier, PHOTOS)
    references = blur(tf.constant(x), size=51, sigma=50.0)
    case = Case(x, references, model.predict(x, verbose=0).argmax(1), size)
    lambda1, lambda2 = given.lambdas or preset_lambdas((size, size))
    cells = cells_of(Layout(x.shape[1:3], 1), size)
    options = {"resolution": size, "lambda1": lambda1, "lambda2": lambda2, "noise": noise}
    published = {"descent": "gradient", "longest_step": LONGEST}
    explainers = {
        "tfxai, published descent": tfxai.igos(model, **options, **published),
        "tfxai": tfxai.igos(model, **options),
    }
    one_by_one, objective = transcription(model, cells, lambda1, lambda2, noise, batched=False)
    programs = {"plain": lambda case, seed: plain(case, one_by_one)}
    batched, _ = transcription(model, cells, lambda1, lambda2, noise, batched=True)
    programs["plain, batched path"] = lambda case, seed: plain(case, batched)
    for name, explainer in explainers.items():
        programs[f"{name}, one by one"] = partial(ours, explainer, together=False)
        programs[f"{name}, together"] = partial(ours, explainer, together=True)
    warnings.simplefilter("ignore")
    first = Case(*(values[:1] for values in case[:3]), size)
    found = {name: [] for name in programs}
    for round_ in range(given.rounds + 1):
        for name, program in programs.items():
            run = program(case if round_ else first, round_)
            print(f"round {round_}, {name}: {run.seconds:.1f} s per photo", flush=True)
            found[name] += [run] if round_ else []
    table = Table("run", "s / photo", "ratio", "objective", "deletion", "insertion", "trials")
    for name, runs in found.items():
        table.add_row(*row(name, runs, found["plain"], case, model, objective))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
