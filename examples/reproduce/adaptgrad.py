"""AdaptGrad (Zhou et al. 2024a): noise that stays within the bounds of the inputs.

Fig. 3 shows the inherent noise: the probability A(x) that the noise on x carries it beyond the
bounds. Here x is uniform between those of torchvision's ImageNet. Fig. 4 and 5 show maps of the
gradient, gradient x input (GI) and integrated gradients (IG), and of the same with the smoothed
(S-) or the adaptively smoothed (A-) gradient in its place. Its tables are in `paper_tables.py`.

Other than in the paper the classifier is EfficientNet-Lite0, and there are few photos. Gradient
and GI have 50 samples, as there, but IG only 10 at each of 16 points (there 50). White and black
are those of the image.

Found: the mean of A(x) is .1596 for SmoothGrad, as in the paper, and .0271 for AdaptGrad with
q = c or .0134 with eq. 13 as printed (the paper has .0142).
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import tfxai
from tfxai import plot, quadrature, zoo

BOUNDS = (-2.12, 2.64)
"""Of ImageNet's pixels after torchvision's normalisation, as the paper rounds them."""
ALPHA = 0.2
"""SmoothGrad's sigma, relative to the distance of the bounds."""
COLUMNS = ("gradient", "GI", "IG (black)", "IG (white)")
PREFIXES = ("", "S-", "A-")
NAMES = {"S-gradient": "SmoothGrad", "A-gradient": "AdaptGrad"}


def uniform(count):
    """Give the middles of equal cells between the bounds, ``[1, count]``."""
    low, high = BOUNDS
    return (low + (high - low) * (np.arange(count) + 0.5) / count)[None]


def inherent_noise(x, *, alpha=ALPHA, confidence=0.95, samples=1):
    """Give the inherent noise of SmoothGrad, and of AdaptGrad with q = c and as printed."""
    options = {"bounds": BOUNDS, "confidence": confidence}
    scales = {
        "SmoothGrad": alpha * (BOUNDS[1] - BOUNDS[0]),
        "AdaptGrad, q = c": tfxai.adaptive_epsilon(x, **options),
        "AdaptGrad, q = (1 + c) / 2": tfxai.adaptive_epsilon(x, **options, printed_eq13=True),
    }
    return {
        name: tfxai.inherent_noise(x, scale, bounds=BOUNDS, samples=samples)
        for name, scale in scales.items()
    }


def means(**options):
    """Give the mean of A(x), for each method."""
    return {name: n.analytic.mean() for name, n in inherent_noise(uniform(2000), **options).items()}


def draw_inherent_noise(path):
    """Draw A(x), and its mean against alpha and against c."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    by_x, by_alpha, by_c = figure.subplots(1, 3)
    x = uniform(2000)
    for name, noise in inherent_noise(x).items():
        by_x.plot(x[0], noise.analytic[0], label=name)
    by_x.set(title="inherent noise, alpha = 0.2, c = 0.95", xlabel="x", ylabel="A(x)")
    by_x.legend(loc="upper center", frameon=False)

    alphas = np.linspace(0.02, 0.5, 25)
    by_alpha.plot(alphas, [means(alpha=a)["SmoothGrad"] for a in alphas])
    by_alpha.set(title="SmoothGrad", xlabel="alpha", ylabel="mean of A(x)")

    confidences = np.linspace(0.5, 0.99, 25)
    found = [means(confidence=c) for c in confidences]
    for name, colour in zip(list(found[0])[1:], ("C1", "C2"), strict=True):
        by_c.plot(confidences, [f[name] for f in found], color=colour)
    by_c.plot(confidences, 1 - confidences, "--", color="0.6", label="1 - c")
    by_c.set(title="AdaptGrad", xlabel="c", ylabel="mean of A(x)")
    by_c.legend(frameon=False)
    for panel in (by_x, by_alpha, by_c):
        panel.set_ylim(bottom=0)
    figure.savefig(path, dpi=150)


def photos(count, size):
    """Give a cat and up to 20 ImageNet photos, ``[count, H, W, 3]`` in 0..255."""
    files = [zoo.skimage_photo("chelsea"), *(file for file, _ in zoo.foolbox_photos())]
    return zoo.crops(files[:count], size)


def gradients(model, bounds, samples):
    """Give the gradient, SmoothGrad and AdaptGrad."""
    epsilon = ALPHA * (bounds[1] - bounds[0])
    return {
        "": tfxai.gradient(model),
        "S-": tfxai.smoothgrad(model, samples=samples, epsilon=epsilon),
        "A-": tfxai.adaptgrad(model, samples=samples, bounds=bounds),
    }


def saliencies(explainer, cheaper, x, targets, bounds, *, steps):
    """Give column -> maps, summed over channels with their signs as the authors do.

    IG of an explainer puts it in the gradient's place, so that the noise fits each point of the
    path; tfxai.smoothgrad of IG would add noise at the path's end alone.

    Args:
        explainer: stands in the gradient's place.
        cheaper: the same with few samples, for IG.
        x: images, preprocessed.
        targets: their classes.
        bounds: black and white.
        steps: points on IG's path.
    """
    gradient = explainer.explain(x, targets, verbose=0).attributions
    found = {"gradient": gradient, "GI": x * gradient}
    for name, baseline in zip(("IG (black)", "IG (white)"), bounds, strict=True):
        ig = tfxai.integrated_gradients(
            cheaper, baseline=baseline, steps=steps, quadrature=quadrature.gauss_legendre
        )
        found[name] = ig.explain(x, targets, verbose=0).attributions
    return {column: maps.sum(-1, keepdims=True) for column, maps in found.items()}


def draw_maps(path, images, labels, maps):
    """Draw the maps; red speaks for the class where the maps are in its units."""
    shown, signs = {}, []
    for column in COLUMNS:
        for prefix in PREFIXES:
            name = prefix + column
            shown[NAMES.get(name, name)] = list(maps[prefix][column])
            signs.append("absolute" if column == "gradient" else "signed")
    figure = plot.panel(images, shown, labels=labels, signs=signs, across=6)
    figure.savefig(path, dpi=100)


def report_inherent_noise(out):
    samples = 50
    x = uniform(20000)
    for name, noise in inherent_noise(x, samples=samples).items():
        counted = noise.sampled.mean()
        error = np.sqrt((noise.analytic * (1 - noise.analytic)).mean() / (x.size * samples))
        print(f"{name:28}{noise.analytic.mean():.6f}  counted {counted:.6f} +- {error:.6f}")
    draw_inherent_noise(out / "adaptgrad.png")
    print(f"wrote {out / 'adaptgrad.png'}")


def report_photos(out, count, *, samples, few, steps):
    classifier = zoo.load("efficientnet-lite0")
    model, bounds = classifier.model, classifier.bounds
    images = photos(count, classifier.size)
    x = classifier.preprocess(images)
    best = model.predict(x, verbose=0).argmax(1)
    many, cheap = gradients(model, bounds, samples), gradients(model, bounds, few)
    maps = {
        prefix: saliencies(many[prefix], cheap[prefix], x, best, bounds, steps=steps)
        for prefix in PREFIXES
    }
    labels = [classifier.names[i].split(",")[0] for i in best]
    draw_maps(out / "adaptgrad_maps.png", images, labels, maps)
    print(f"wrote {out / 'adaptgrad_maps.png'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for what is written")
    parser.add_argument("--photos", type=int, default=3, help="up to 21; 0: Fig. 3 alone")
    parser.add_argument("--samples", type=int, default=50, help="of the gradient and GI")
    parser.add_argument("--few", type=int, default=10, help="samples of IG")
    parser.add_argument("--steps", type=int, default=16, help="points on IG's path")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    report_inherent_noise(given.out)
    if given.photos:
        effort = {"samples": given.samples, "few": given.few, "steps": given.steps}
        report_photos(given.out, given.photos, **effort)


if __name__ == "__main__":
    main()
