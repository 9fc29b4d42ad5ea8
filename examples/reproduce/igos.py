"""I-GOS (Qi et al. 2020) beside other methods: Tables 1 to 3 and Fig. 3.

The tables have deletion and insertion, and the seconds of CPU time that they take, of maps at
resolutions from 224 to 7; the figure shows maps with their curves. Table 4 is in `igos_parts.py`,
the supplement's adversarial images are in `igos_adversarial.py`.

Other than in the paper the classifier is EfficientNet-Lite0 with a few photos (there VGG19 and
ResNet50 with 5,000), RISE has 2,000 masks (there 4,000 and 8,000), and every method that optimises
no mask is explained once and averaged over cells, also excitation backprop (there of another layer
for each resolution). I-GOS has this library's defaults.

Found, with `--photos 6`: I-GOS inserts best at every resolution (.58 to .68; excitation backprop
.56 to .60, Grad-CAM .50 to .60, RISE .47 to .62) and deletes best at 7 to 28 cells (.19, .10, .08
with the better noise); at 112 and 224 meaningful perturbation does (.044 and .026, I-GOS without
noise .066 and .041). Without noise I-GOS deletes better but at 7 cells, and takes twice as long: 16
to 20 seconds of CPU time for a photo instead of 7 to 13. Meaningful perturbation takes 28 to 36,
RISE 66.
"""

import argparse
import csv
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import tfxai
from tfxai import plot, zoo
from tfxai.cli.demo import EXCITATION_LAYERS

RESOLUTIONS = (224, 112, 28, 14, 7)

CELLS = 28
"""The resolution of the figure."""
SHOWN = 3
"""Photos in a figure."""
DRAWN = ("I-GOS", "meaningful perturbation", "RISE", "Grad-CAM")


class Case(NamedTuple):
    """Photos (in 0..255), and what a classifier makes of them."""

    classifier: zoo.Classifier
    layer: str | None
    pixels: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray


def load(given):
    """Give a classifier with up to 20 ImageNet photos, evenly chosen, and what it predicts."""
    given.out.mkdir(parents=True, exist_ok=True)
    weights = None if given.weights == "none" else given.weights
    classifier = zoo.load(given.model, weights=weights)
    files = [file for file, _ in zoo.foolbox_photos()]
    chosen = np.linspace(0, len(files) - 1, given.photos).round().astype(int)
    pixels = zoo.crops([files[i] for i in chosen], classifier.size)
    inputs = classifier.preprocess(pixels)
    targets = classifier.model.predict(inputs, verbose=0).argmax(1)
    return Case(classifier, EXCITATION_LAYERS.get(given.model), pixels, inputs, targets)


def label(case, i):
    names, target = case.classifier.names, case.targets[i]
    return names[target].split(",")[0][:24] if names else str(target)


def optimised(model, given, resolution):
    """Give title -> explainer of what optimises a mask."""
    options = {"resolution": resolution, "iterations": given.iterations}
    return {
        "I-GOS": tfxai.igos(model, **options),
        "I-GOS, no noise": tfxai.igos(model, noise=0.0, **options),
        "meaningful perturbation": tfxai.meaningful_perturbation(
            model, resolution=resolution, iterations=given.perturbation
        ),
    }


def others(case, given):
    """Give title -> explainer of what optimises none."""
    model = case.classifier.model
    return {
        "RISE": tfxai.rise(model, masks=given.rise),
        "Grad-CAM": tfxai.grad_cam(model),
        "gradient": tfxai.gradient(model),
        "integrated gradients": tfxai.integrated_gradients(model),
        "excitation backprop": tfxai.excitation_backprop(model, layer=case.layer),
    }


def explained(explainer, case, *, warm=False):
    """Give the record and the CPU seconds per photo; `warm` traces before, on one photo."""
    with warnings.catch_warnings():
        # Some lambdas and ablations leave masks as they are: that is a finding here.
        warnings.filterwarnings("ignore", message=".*hardly moved")
        if warm:
            explainer.explain(case.inputs[:1], case.targets[:1], verbose=0)
        start = time.process_time()
        record = explainer.explain(case.inputs, case.targets, verbose=0)
    return record, (time.process_time() - start) / len(case.inputs)


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


def tables(case, given):
    """Write deletion, insertion and CPU seconds by method and resolution."""
    noises = tfxai.random_attribution(case.classifier.model)
    draws = [noises(x[None], 0, seed=i) for i, x in enumerate(case.inputs)]
    maps, seconds, rows = {"random": np.concatenate(draws)}, {"random": ""}, []
    for name, explainer in others(case, given).items():
        record, seconds[name] = explained(explainer, case, warm=True)
        maps[name] = record.attributions
    for resolution in given.resolutions:
        heatmaps = {}
        for name, explainer in optimised(case.classifier.model, given, resolution).items():
            record, seconds[name] = explained(explainer, case, warm=True)
            heatmaps[name] = 1 - record.mask
        heatmaps |= {name: pooled(values, resolution) for name, values in maps.items()}
        for name, found in curves(case, heatmaps).items():
            row = {"resolution": resolution, "method": name, **areas(found)}
            rows.append({**row, "cpu seconds": seconds[name]})
    report(given.out / "igos_table.csv", rows)


def draw_methods(case, given):
    """Draw maps over a few photos, each with its curves below."""
    case = Case(*case[:2], *(values[:SHOWN] for values in case[2:]))
    explainers = optimised(case.classifier.model, given, CELLS) | others(case, given)
    maps = {name: explained(explainers[name], case)[0].attributions for name in DRAWN}
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
            plot.overlay(case.pixels[i], values[i], sign="absolute", axes=above[j])
            above[j].set_title(name, size=10)
            shown = part(found[name], [i])
            shown.plot(axes=below[j]).get_legend().remove()
            both = (shown.deletion, shown.insertion)
            below[j].set_title("   ".join(f"{c.name} {c.auc[0]:.3f}" for c in both), size=9)
            below[j].set(ylim=(-0.02, 1.02), xlabel="share of the cells", ylabel="")
        lines = below[1].get_lines()
        below[0].legend(lines, ["deletion", "insertion"], loc="center", frameon=False)
    path = given.out / "igos_curves.png"
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


def options_of(description):
    """Give the parser of what the three scripts of I-GOS have in common."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for what is written")
    parser.add_argument("--photos", type=int, default=8, help="up to 20")
    parser.add_argument("--model", default="efficientnet-lite0", help="any that tfxai.zoo has")
    parser.add_argument("--weights", default="imagenet", help="'imagenet', 'none' or a file")
    parser.add_argument("--iterations", type=int, default=15, help="of I-GOS")
    return parser


def main():
    parser = options_of(__doc__)
    parser.add_argument("--resolutions", type=int, nargs="+", default=RESOLUTIONS)
    parser.add_argument("--perturbation", type=int, default=500, help="iterations of the method")
    parser.add_argument("--rise", type=int, default=2000, help="masks")
    given = parser.parse_args()
    case = load(given)
    tables(case, given)
    draw_methods(case, given)


if __name__ == "__main__":
    main()
