"""I-GOS (Qi et al. 2020) of adversarial images, as in the supplement.

It finds that an adversarial class comes back only once much more of its image is inserted than a
natural one needs. The attack here is MI-FGSM (Dong et al. 2018) away from the predicted class, by
8/255 in 10 iterations.

Found, with the defaults: all 8 photos change class. Of the 6 for which both masks move, half of the
probability comes back with .23 of the cells in the natural photo and .29 in the adversarial one,
nine tenths with .37 and .51. Where the attack makes a class certain, a mask may find no step.
"""

from itertools import product

import numpy as np
from igos import SHOWN, curves, explained, label, load, options_of, report
from matplotlib.figure import Figure

import tfxai
from tfxai import plot

LEVELS = (0.5, 0.9)
"""Shares of a class's full score."""


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


def have_moved(masks):
    """See which masks are not as they started."""
    return (masks < 1 - 1e-3).any((1, 2, 3))


def needed(curve, level):
    """Give the share of cells inserted when a class first has this share of its full score."""
    return curve.fractions[(curve.scores >= level * curve.scores[:, -1:]).argmax(1)]


def adversarial(case, given):
    """Write and draw how much of a photo its class needs, natural and adversarial."""
    explainer = tfxai.igos(case.classifier.model, iterations=given.iterations)
    rows = []
    cases = {"natural": case, "adversarial": attacked(case)}
    records = {name: explained(explainer, c)[0] for name, c in cases.items()}
    found = {n: curves(c, {n: 1 - records[n].mask})[n].insertion for n, c in cases.items()}
    # A mask that has not moved has no order: its curve shows the image row by row.
    moved = {name: have_moved(record.mask) for name, record in records.items()}
    for i, (name, record) in product(range(len(case.inputs)), records.items()):
        row = {"photo": i, "image": name, "class": label(cases[name], i)}
        row |= {
            "p": record.scores[i].item(),
            "insertion": found[name].auc[i],
            "moved": moved[name][i],
        }
        rows.append(row | {f"{level:.0%}": needed(found[name], level)[i] for level in LEVELS})
    report(given.out / "igos_adversarial.csv", rows)
    changed = cases["adversarial"].targets != case.targets
    fair = changed & moved["natural"] & moved["adversarial"]
    print(f"of {len(fair)} photos {changed.sum()} changed class, {fair.sum()} with both masks:")
    for name, level in product(cases, LEVELS) if fair.any() else ():
        print(f"{name:12}{needed(found[name], level)[fair].mean():6.3f} for {level:.0%} of p")
    draw_adversarial(given.out / "igos_adversarial.png", cases, records, found)


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
            plot.overlay(case.pixels[i], records[name].attributions[i], sign="absolute", axes=over)
            moved = have_moved(records[name].mask)[i]
            over.set_title("I-GOS" if moved else "I-GOS found no step", size=9)
            fractions, scores = found[name].fractions, found[name].scores[i]
            half = needed(found[name], 0.5)[i]
            axes.plot(fractions, scores, color=colour, label=name)
            axes.plot(half, np.interp(half, fractions, scores), "o", color=colour)
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), xlabel="share of the cells inserted")
        axes.set_title("probability of its class (dot: half of it)", size=9)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


def main():
    given = options_of(__doc__).parse_args()
    adversarial(load(given), given)


if __name__ == "__main__":
    main()
