"""Whether methods with a rule find the object on smooth, gated and attention networks.

    python examples/benchmarks/rules_extended.py [--networks ReLU swish] [--seeds 3] [--out build]

A tetromino lies at a random place of a noisy image, with smaller pieces as distractors. Five small
networks learn which of the seven it is: a ReLU network as in the papers, and others for which the
rules are extended (twin_networks.py). Each explains its true class on test images. A hit is a map
whose maximum lies in the tetromino's box, after the positive part is averaged over windows of one
cell; the mass is the share of the positive part in the box. Prints Markdown tables: the mean over
images and trained networks, its standard error, and in parentheses the means of the networks. A
network is trained and explained in two minutes of one core. Weights and results are kept in --out,
from which an interrupted run goes on; maps are drawn there.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import uniform_filter
from twin_networks import TWINS

import tfxai
from tfxai import metrics

SIZE, CELL = 32, 4
EPOCHS, SHOWN = 30, 3
GOAL, LEAST = 0.98, 0.95
"""The accuracy at which training ends, and the least one of a network that is measured."""
PIECES = ("1111", "11/11", "111/010", "011/110", "110/011", "100/111", "001/111")
"""I, O, T, S, Z, J and L; a slash begins a row."""
DISTRACTORS = ("1", "11", "1/1", "111", "1/1/1", "11/10", "11/01")
METHODS = {
    "gradient": (tfxai.gradient, None),
    "integrated_gradients": (tfxai.integrated_gradients, None),
    "guided_backprop": (tfxai.guided_backprop, None),
    "deconvnet": (tfxai.deconvnet, None),
    "guided_grad_cam": (tfxai.guided_grad_cam, None),
    "excitation_backprop": (tfxai.excitation_backprop, None),
    "pattern_net": (tfxai.pattern_net, "relu"),
    "pattern_attribution": (tfxai.pattern_attribution, "relu"),
    "pattern_guided_integrated_gradients": (tfxai.pattern_guided_integrated_gradients, "relu"),
    "pattern_net, linear": (tfxai.pattern_net, "linear"),
    "pattern_attribution, linear": (tfxai.pattern_attribution, "linear"),
}
"""Name -> builder, estimator of the patterns. The first two have no rule, and are yardsticks."""


def cells(drawing):
    """Give a piece as an array of 0 and 1, in pixels."""
    rows = np.array([[int(cell) for cell in row] for row in drawing.split("/")])
    return np.kron(rows, np.ones((CELL, CELL)))


def data(count, seed):
    """Give images ``[N, 32, 32, 1]``, labels ``[N]`` and boxes of the tetrominoes ``[N, 4]``."""
    random = np.random.default_rng(seed)
    images = random.uniform(0, 0.5, (count, SIZE, SIZE))
    labels = random.integers(0, len(PIECES), count)
    boxes = []
    for image, label in zip(images, labels, strict=True):
        pieces = [cells(d) for d in (PIECES[label], *random.choice(DISTRACTORS, 2))]
        places = free_places([piece.shape for piece in pieces], random)
        for piece, (left, top, right, bottom) in zip(pieces, places, strict=True):
            image[top:bottom, left:right] += piece * random.uniform(0.6, 1)
        boxes.append(places[0])
    return images[..., None].astype("float32"), labels, np.array(boxes)


def free_places(shapes, random, gap=CELL):
    """Draw boxes on the grid of cells, `gap` pixels apart; all anew where one has no place."""
    while True:
        taken, boxes = np.zeros((SIZE, SIZE), bool), []
        for height, width in shapes:
            rows, columns = (SIZE - height) // CELL, (SIZE - width) // CELL
            top, left = CELL * random.integers(0, (rows + 1, columns + 1))
            bottom, right = top + height, left + width
            if taken[top:bottom, left:right].any():
                break
            taken[max(top - gap, 0) : bottom + gap, max(left - gap, 0) : right + gap] = True
            boxes.append((left, top, right, bottom))
        else:
            return boxes


def stem(name, seed):
    return f"{name.replace(', ', '_').replace(' ', '_')}_{seed}"


def trained(name, seed, folder):
    """Give a network trained until it tells nearly all images of a validation set right.

    Its weights are kept after each epoch, so that a run that was interrupted goes on from there.
    """
    keras.utils.set_random_seed(seed)
    model = TWINS[name](SIZE)
    path = folder / f"{stem(name, seed)}.weights.h5"
    if path.exists():
        model.load_weights(path)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    validation = data(1000, seed=1)
    for epoch in range(EPOCHS):
        if accuracy(model, validation) >= GOAL:
            break
        images, answers, _ = data(10000, seed=[3, seed, epoch])
        model.fit(images, answers, batch_size=32, verbose=0)
        model.save_weights(path)
        print(f"{name}, epoch {epoch}: {accuracy(model, validation):.3f}", flush=True)
    return model


def accuracy(model, labelled):
    images, labels, _ = labelled
    return (model.predict(images, batch_size=250, verbose=0).argmax(1) == labels).mean()


def explained(model, images, labels):
    """Give method -> maps ``[N, 32, 32, 1]``."""
    examples, _, _ = data(1000, seed=0)
    patterns = {
        estimator: tfxai.fit_patterns(
            model, examples, estimator=estimator, batch_size=100, verbose=0
        )
        for estimator in ("relu", "linear")
    }
    maps = {}
    for name, (builder, estimator) in METHODS.items():
        explainer = builder(model, patterns[estimator]) if estimator else builder(model)
        maps[name] = explainer.explain(images, labels, verbose=0).attributions
    return maps


def measured(name, seed, folder, test):
    """Give method -> (hits, shares of mass), and some maps, of a network; both kept in a file."""
    path = folder / f"{stem(name, seed)}.npz"
    if not path.exists():
        images, labels, boxes = test
        model = trained(name, seed, folder)
        right = accuracy(model, test)
        print(f"{name}, seed {seed}: {right:.3f} of {len(labels)} test images are right")
        if right <= LEAST:
            raise SystemExit(f"nothing is measured on networks below {LEAST}")
        maps = explained(model, images, labels)
        shown = {f"maps of {method}": values[:SHOWN] for method, values in maps.items()}
        np.savez(path, **{m: found(v, boxes) for m, v in maps.items()}, **shown)
        keras.backend.clear_session()
    with np.load(path) as file:
        return {m: file[m] for m in METHODS}, {m: file[f"maps of {m}"] for m in METHODS}


def found(maps, boxes):
    """Give hits and shares of mass, ``[N]`` each."""
    positive = np.maximum(maps[..., 0], 0)
    pooled = uniform_filter(positive, (0, CELL, CELL), mode="constant")
    hits = metrics.pointing_game(pooled, boxes, tolerance=0)
    return hits, np.nan_to_num(metrics.mass_share(positive, boxes))


def cell_of(networks):
    """Give mean ± standard error over images, and the means of the networks, in percent."""
    values = 100 * np.concatenate(networks)
    error = values.std(ddof=1) / np.sqrt(values.size)
    each = ", ".join(f"{100 * np.mean(network):.0f}" for network in networks)
    return f"{values.mean():.0f} ± {error:.0f} ({each})"


def table(title, results, column):
    print(f"\n**{title}**\n\n| method | " + " | ".join(results) + " |")
    print("|---" * (1 + len(results)) + "|")
    for method in METHODS:
        columns = [cell_of([found[method][column] for found in r]) for r in results.values()]
        print(f"| {method} | " + " | ".join(columns) + " |")


def draw(path, images, boxes, maps):
    """Draw images, and below each its maps by all methods, for one network beside the other."""
    columns = [(name, i) for name in maps for i in range(len(images))]
    figure = Figure(figsize=(1.1 * len(columns) + 1, 1.1 * (1 + len(METHODS))))
    axes = figure.subplots(1 + len(METHODS), len(columns))
    for column, (name, i) in enumerate(columns):
        axes[0, column].imshow(images[i, ..., 0], cmap="gray")
        axes[0, column].set_title(name, fontsize=7)
        left, top, right, bottom = boxes[i] - 0.5
        for panel, method in zip(axes[1:, column], METHODS, strict=True):
            values = maps[name][method][i, ..., 0]
            scale = np.abs(values).max() or 1
            panel.imshow(values, cmap="seismic", vmin=-scale, vmax=scale)
            around = [left, right, right, left, left], [top, top, bottom, bottom, top]
            panel.plot(*around, "k", lw=0.5)
    for panel, method in zip(axes[1:, 0], METHODS, strict=True):
        panel.set_ylabel(method.replace("_", "\n"), fontsize=6)
    for panel in axes.ravel():
        panel.set(xticks=[], yticks=[])
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=list(TWINS), default=list(TWINS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--count", type=int, default=250)
    parser.add_argument("--out", type=Path, default=Path("build/rules_extended"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    images, _, boxes = test = data(options.count, seed=2)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).mean() / SIZE**2
    results, shown = {}, {}
    for name in options.networks:
        kept = [measured(name, seed, options.out, test) for seed in range(options.seeds)]
        results[name], shown[name] = [found for found, _ in kept], kept[0][1]
    print(f"{options.count} images, {options.seeds} networks of each kind; the box has", end=" ")
    print(f"{100 * area:.0f} % of an image's pixels")
    table("Hits, %", results, 0)
    table("Mass in the box, %", results, 1)
    draw(options.out / "maps.png", images[:SHOWN], boxes, shown)


if __name__ == "__main__":
    main()
