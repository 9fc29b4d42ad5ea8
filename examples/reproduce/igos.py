"""I-GOS (paper 004): masks that lose the class, optimised along integrated gradients.

Tables 1 to 3 have deletion and insertion, and the seconds that they take, of maps at resolutions
from 224 to 7; Table 4 has what I-GOS is without its parts; Fig. 3 shows maps with their curves. The
supplement finds that an adversarial class comes back only once much more of its image is inserted
than a natural one needs. The part "search" is ours: what lambda1 and lambda2 lead to.

Other than in the paper the classifier is EfficientNet-Lite0 with a few photos (there VGG19 and
ResNet50 with 5,000), RISE has 2,000 masks (there 4,000 and 8,000), and every method that optimises
no mask is explained once and averaged over cells, also excitation backprop (there of another layer
for each resolution). I-GOS has this library's defaults; Table 4 has the paper's as well. The attack
is MI-FGSM (Dong et al. 2018) away from the predicted class, by 8/255 in 10 iterations.

Found, with the defaults: TODO
"""

import argparse
import csv
import time
import warnings
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import tfxai
from tfxai import demonstration, masks, plot, zoo
from tfxai.heads import scored
from tfxai.methods.igos import LONGEST, PRESETS
from tfxai.total_gradient import Blended, Deletion
from tfxai.tracing import traced

CELLS = 28
"""The resolution of all but the tables and the search."""
SHOWN = 3
"""Photos in a figure."""
NOISE = 0.2
"""I-GOS's default, for the fixed steps."""
LEVELS = (0.5, 0.9)
"""Shares of a class's full score."""
PUBLISHED = {"lambda1": 1.0, "lambda2": 20.0, "descent": "gradient", "tolerance": None}
ABLATIONS = {
    "I-GOS": {},
    "no TV": {"lambda2": 0.0},
    "no noise": {"noise": 0.0},
    "ordinary gradient": {"steps": 1},  # the path's only point is the mask itself
    "published descent": {"descent": "gradient"},
    "published lambdas, search": PUBLISHED,
    "averaged search": {"line_search": "averaged"},
}


class Case(NamedTuple):
    """Photos (in 0..255), and what a classifier makes of them."""

    classifier: zoo.Classifier
    layer: str | None
    pixels: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray


class Effort(NamedTuple):
    """How much is computed; the lambdas are those of the search."""

    resolutions: tuple = (224, 112, 28, 14, 7)
    iterations: int = 15
    steps: int = 20
    perturbation: int = 500
    rise: int = 2000
    lambda1: tuple = (0.03, 0.1, 0.3, 1.0)
    lambda2: tuple = (0.2, 2.0, 20.0)


QUICK = Effort((28,), 2, 4, 3, 50, (0.1,), (2.0, 20.0))


def load(name, weights, count):
    """Give a classifier with up to 20 ImageNet photos, evenly chosen, and what it predicts."""
    classifier = zoo.load(name, weights=weights)
    files = [file for file, _ in zoo.foolbox_photos()]
    chosen = np.linspace(0, len(files) - 1, count).round().astype(int)
    pixels = zoo.crops([files[i] for i in chosen], classifier.size)
    inputs = classifier.preprocess(pixels)
    targets = classifier.model.predict(inputs, verbose=0).argmax(1)
    return Case(classifier, demonstration.MIDDLE.get(name), pixels, inputs, targets)


def label(case, i):
    names, target = case.classifier.names, case.targets[i]
    return names[target].split(",")[0][:24] if names else str(target)


def igos(case, effort, **options):
    """Give I-GOS with its defaults but for these."""
    few = {"iterations": effort.iterations, "steps": effort.steps}
    return tfxai.igos(case.classifier.model, **few | options)


def perturbation(case, effort, resolution):
    return tfxai.meaningful_perturbation(
        case.classifier.model, resolution=resolution, iterations=effort.perturbation
    )


def others(case, effort):
    """Give title -> explainer of what optimises no mask."""
    model = case.classifier.model
    return {
        "RISE": tfxai.rise(model, masks=effort.rise),
        "Grad-CAM": tfxai.grad_cam(model),
        "gradient": tfxai.gradient(model),
        "integrated gradients": tfxai.integrated_gradients(model),
        "excitation backprop": tfxai.excitation_backprop(model, layer=case.layer),
    }


def explained(explainer, case, *, warm=False):
    """Give the record and the seconds per photo; `warm` traces before, on one photo."""
    with warnings.catch_warnings():
        # Some lambdas and ablations leave masks as they are: that is a finding here.
        warnings.filterwarnings("ignore", message=".*hardly moved")
        if warm:
            explainer.explain(case.inputs[:1], case.targets[:1], verbose=0)
        start = time.perf_counter()
        record = explainer.explain(case.inputs, case.targets, verbose=0)
    return record, (time.perf_counter() - start) / len(case.inputs)


def pooled(maps, resolution):
    """Average the sizes, summed over channels, over cells, ``[B, s, s, 1]``."""
    sizes = np.abs(maps).sum(-1, keepdims=True)
    return tf.image.resize(sizes, [resolution, resolution], method="area").numpy()


def part(found, rows):
    """Give the curves of some of the heatmaps."""
    both = (found.deletion, found.insertion)
    return tfxai.metrics.Curves(*(replace(c, scores=c.scores[rows], auc=c.auc[rows]) for c in both))


def curves(case, heatmaps):
    """Give the curves of title -> heatmaps ``[B, s, s, 1]``, all of them by one graph."""
    times, count = len(heatmaps), len(case.inputs)
    found = tfxai.metrics.deletion_and_insertion(
        case.classifier.model,
        np.concatenate([case.inputs] * times),
        np.concatenate(list(heatmaps.values())),
        np.tile(case.targets, times),
        substrate="blur",
        score=tfxai.scores.probability,
    )
    return {n: part(found, slice(i * count, (i + 1) * count)) for i, n in enumerate(heatmaps)}


def areas(found):
    """Give the means over the photos, as columns of a table."""
    return {"deletion": found.deletion.auc.mean(), "insertion": found.insertion.auc.mean()}


def report(path, rows):
    """Write a table as csv, and print it."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    table = Table(*rows[0], title=str(path))
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=110).print(table)  # also where the output is no terminal


def tables(case, effort, out):
    """Write deletion, insertion and seconds by method and resolution."""
    noises = tfxai.random_attribution(case.classifier.model)
    draws = [noises(x[None], 0, seed=i) for i, x in enumerate(case.inputs)]
    maps, seconds, rows = {"random": np.concatenate(draws)}, {"random": ""}, []
    for name, explainer in others(case, effort).items():
        record, seconds[name] = explained(explainer, case, warm=True)
        maps[name] = record.attributions
    for resolution in effort.resolutions:
        optimised, heatmaps = {"I-GOS": igos(case, effort, resolution=resolution)}, {}
        optimised["I-GOS, no noise"] = igos(case, effort, resolution=resolution, noise=0.0)
        optimised["meaningful perturbation"] = perturbation(case, effort, resolution)
        for name, explainer in optimised.items():
            record, seconds[name] = explained(explainer, case, warm=True)
            heatmaps[name] = 1 - record.mask
        heatmaps |= {name: pooled(values, resolution) for name, values in maps.items()}
        for name, found in curves(case, heatmaps).items():
            row = {"resolution": resolution, "method": name, **areas(found)}
            rows.append({**row, "seconds": seconds[name]})
    report(out / "igos_table.csv", rows)


def fixed_step(case, effort, alpha):
    """Take the same step in each iteration; give the heatmaps, objectives, seconds per photo."""
    references = tfxai.baselines.baseline("blur")(tf.constant(case.inputs))[0]
    of = Blended(tf.constant(case.inputs), references, tf.constant(case.targets, tf.int32))
    score = scored(case.classifier.model, tfxai.scores.probability)
    deletion = Deletion(score, effort.steps, NOISE, rows=8)
    lambda1, lambda2 = PRESETS[CELLS]
    price = masks.Regulariser(lambda1, lambda2, beta=2)
    each = tf.ones(len(case.inputs))

    def after(mask, seed):
        there = mask - alpha * deletion.gradient(mask, of, seed)[0]
        there = masks.proximal(there, alpha * each, lambda1 * each, lambda2)
        return tf.clip_by_value(there, 0, 1)

    mask = tf.ones([len(each), CELLS, CELLS])
    step = traced(after).get_concrete_function(mask, tf.constant([0, 0]))
    start = time.perf_counter()
    for i in range(effort.iterations):
        mask = step(mask, tf.constant([0, i]))
    seconds = (time.perf_counter() - start) / len(each)
    objective = traced(lambda mask: deletion.score(mask, of) + price(mask))(mask)
    return 1 - mask.numpy()[..., None], objective.numpy(), seconds


def ablations(case, effort, out):
    """Write what I-GOS is without its parts; the objective only where it is the same one."""
    heatmaps, columns = {}, {}
    for name, options in ABLATIONS.items():
        record, seconds = explained(igos(case, effort, **options), case, warm=True)
        heatmaps[name] = 1 - record.mask
        means = {n: float(record.numbers[n].mean()) for n in ("objective", "iterations", "trials")}
        other = {"objective": ""} if "lambda2" in options else {}
        columns[name] = {**means, **other, "seconds": seconds}
    for alpha in (LONGEST["proximal"], LONGEST["proximal"] / 10):
        name, counts = f"fixed step {alpha:g}", {"iterations": effort.iterations, "trials": 0}
        heatmaps[name], objective, seconds = fixed_step(case, effort, alpha)
        columns[name] = {"objective": float(objective.mean()), **counts, "seconds": seconds}
    found = curves(case, heatmaps)
    report(
        out / "igos_ablations.csv",
        [{"version": n, **areas(found[n]), **columns[n]} for n in columns],
    )


def draw_methods(case, effort, out):
    """Draw maps over a few photos, each with its curves below."""
    case = Case(*case[:2], *(values[:SHOWN] for values in case[2:]))
    explainers = {
        "I-GOS": igos(case, effort),
        "meaningful perturbation": perturbation(case, effort, CELLS),
        **{n: e for n, e in others(case, effort).items() if n in ("RISE", "Grad-CAM")},
    }
    maps = {name: explained(e, case)[0].attributions for name, e in explainers.items()}
    found = curves(case, {name: pooled(values, CELLS) for name, values in maps.items()})
    figure = Figure((13, 4.7 * len(case.inputs)), layout="constrained")
    heights = [1.3, 1] * len(case.inputs)
    grid = figure.subplots(len(heights), 5, height_ratios=heights, squeeze=False)
    for i, (above, below) in enumerate(zip(grid[::2], grid[1::2], strict=True)):
        above[0].imshow(case.pixels[i] / 255)
        above[0].set_title(label(case, i), size=10, parse_math=False)
        for axes in (above[0], below[0]):
            axes.set_axis_off()
        for j, (name, values) in enumerate(maps.items(), 1):
            plot.overlay(case.pixels[i], values[i], sign="positive", axes=above[j])
            above[j].set_title(name, size=10)
            shown = part(found[name], [i])
            shown.plot(axes=below[j]).get_legend().remove()
            both = (shown.deletion, shown.insertion)
            below[j].set_title("   ".join(f"{c.name} {c.auc[0]:.3f}" for c in both), size=9)
            below[j].set(ylim=(-0.02, 1.02), xlabel="share of the cells", ylabel="")
        lines = below[1].get_lines()
        below[0].legend(lines, ["deletion", "insertion"], loc="center", frameon=False)
    figure.savefig(out / "igos_curves.png", dpi=120)
    print(f"wrote {out / 'igos_curves.png'}")


def attacked(case, *, reach=8 / 255, iterations=10, momentum=1.0):
    """Lead the class astray by MI-FGSM; the photos are explained for their new class."""
    low, high = (np.asarray(bound, np.float32) for bound in case.classifier.bounds)
    model, x, total = case.classifier.model, case.inputs, 0.0
    loss = tfxai.gradient(model, score=tfxai.scores.cross_entropy)
    for _ in range(iterations):
        gradient = loss.explain(x, case.targets, verbose=0).attributions
        total = momentum * total + gradient / np.abs(gradient).mean((1, 2, 3), keepdims=True)
        x = np.clip(x + reach / iterations * (high - low) * np.sign(total), low, high)
    x = x.astype(np.float32)
    # Back to a picture; some preprocessing turns RGB into BGR.
    order = np.argsort(case.classifier.preprocess(np.array([0.0, 100.0, 200.0])[None, None])[0, 0])
    pixels = (255 * (x - low) / (high - low))[..., order]
    return case._replace(
        pixels=pixels.clip(0, 255), inputs=x, targets=model.predict(x, verbose=0).argmax(1)
    )


def needed(curve, level):
    """Give the share of cells inserted when a class first has this share of its full score."""
    return curve.fractions[(curve.scores >= level * curve.scores[:, -1:]).argmax(1)]


def adversarial(case, effort, out):
    """Write and draw how much of a photo its class needs, natural and adversarial."""
    explainer, rows = igos(case, effort), []
    cases = {"natural": case, "adversarial": attacked(case)}
    records = {name: explained(explainer, c)[0] for name, c in cases.items()}
    found = {n: curves(c, {n: 1 - records[n].mask})[n].insertion for n, c in cases.items()}
    # A mask that has not moved has no order: its curve shows the image row by row.
    moved = {name: (record.mask < 1 - 1e-3).any((1, 2, 3)) for name, record in records.items()}
    for i, (name, record) in product(range(len(case.inputs)), records.items()):
        row = {"photo": i, "image": name, "class": label(cases[name], i)}
        row |= {
            "p": record.scores[i].item(),
            "insertion": found[name].auc[i],
            "moved": moved[name][i],
        }
        rows.append(row | {f"{level:.0%}": needed(found[name], level)[i] for level in LEVELS})
    report(out / "igos_adversarial.csv", rows)
    changed = cases["adversarial"].targets != case.targets
    fair = changed & moved["natural"] & moved["adversarial"]
    print(f"of {len(fair)} photos {changed.sum()} changed class, {fair.sum()} with both masks:")
    for name, level in product(cases, LEVELS) if fair.any() else ():
        print(f"{name:12}{needed(found[name], level)[fair].mean():6.3f} for {level:.0%} of p")
    draw_adversarial(out / "igos_adversarial.png", cases, records, found)


def draw_adversarial(path, cases, records, found):
    """Draw photos, maps and insertion curves, natural and adversarial beside each other."""
    count = min(SHOWN, len(cases["natural"].inputs))
    figure = Figure((14, 2.9 * count), layout="constrained")
    grid = figure.subplots(count, 5, width_ratios=[1, 1, 1, 1, 1.3], squeeze=False)
    for i, (*pictures, axes) in enumerate(grid):
        for (name, case), colour in zip(cases.items(), ("tab:blue", "tab:orange"), strict=True):
            photo, over = (pictures.pop(0) for _ in range(2))
            photo.imshow(case.pixels[i] / 255)
            photo.set_axis_off()
            title = f"{name}\n{label(case, i)} {records[name].scores[i]:.2f}"
            photo.set_title(title, size=9, parse_math=False)
            plot.overlay(case.pixels[i], records[name].attributions[i], sign="positive", axes=over)
            over.set_title("I-GOS", size=9)
            fractions, scores = found[name].fractions, found[name].scores[i]
            half = needed(found[name], 0.5)[i]
            axes.plot(fractions, scores, color=colour, label=name)
            axes.plot(half, np.interp(half, fractions, scores), "o", color=colour)
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), xlabel="share of the cells inserted")
        axes.set_title("probability of its class (dot: half of it)", size=9)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


def search(case, effort, out):
    """Write what lambda1 and lambda2 lead to; lambda2 is that of 28 x 28 times (s / 28)^2."""
    rows = []
    for resolution in effort.resolutions:
        heatmaps = {}
        for lambda1, factor in product(effort.lambda1, effort.lambda2):
            prices = {"lambda1": lambda1, "lambda2": factor * (resolution / 28) ** 2}
            explainer = igos(case, effort, resolution=resolution, **prices)
            heatmaps[tuple(prices.items())] = 1 - explained(explainer, case)[0].mask
        for prices, found in curves(case, heatmaps).items():
            row = {"resolution": resolution, **dict(prices), **areas(found)}
            deleted = float(heatmaps[prices].mean())
            rows.append({**row, "difference": found.difference.mean(), "deleted": deleted})
    report(out / "igos_search.csv", rows)


def main():
    parts = {"tables": tables, "ablations": ablations, "curves": draw_methods}
    parts |= {"adversarial": adversarial, "search": search}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for what is written")
    parser.add_argument("--photos", type=int, default=8, help="up to 20")
    parser.add_argument("--part", nargs="+", choices=parts, default=parts, help="default: all")
    parser.add_argument("--model", default="efficientnet-lite0", help="any that tfxai.zoo has")
    parser.add_argument("--weights", default="imagenet", help="'imagenet', 'none' or a file")
    parser.add_argument("--quick", action="store_true", help="tiny settings, to see that it runs")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    weights = None if given.weights == "none" else given.weights
    case = load(given.model, weights, min(given.photos, 2) if given.quick else given.photos)
    for name in given.part:
        parts[name](case, QUICK if given.quick else Effort(), given.out)


if __name__ == "__main__":
    main()
