"""Kernels of gradient smoothing (Zhou et al. 2024b, Axiomatization of Gradient Smoothing).

Its Fig. 2 smooths a piecewise linear function. Here SmoothGrad of such a function, built of
ReLUs, is compared with what each of the five kernels gives analytically. Its Fig. 3 and 7 show the
kernels and their maps; its Table 1 is in `paper_tables.py`. All kernels get the epsilon that has
the same mass within [-r, r], so that they are comparable; for the hyperbolic and the rect kernel
the paper misprints it. The sigmoid kernel is then the hyperbolic one, but for rounding.

Other than in the paper the classifier is EfficientNet-Lite0, and there are few photos.

Found, with the defaults: on the line SmoothGrad is within 3.1 standard errors of the formula, for
all kernels at 281 points.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

import tfxai
from tfxai import kernels, plot, zoo

EDGES = np.array([-2.5, -1, 0, 0.95, 1, 1.05, 2, 2.5])
"""Where f bends."""
SLOPES = np.array([1, -1, 0.5, 8, -8, 0.5, -0.95])
"""Of f between the edges, with a narrow spike at 1; outside f is flat."""
R = 0.5
"""Half the width of most of the noise on f's input."""
X = np.linspace(-3.5, 3.5, 281)
COLOURS = dict(zip(kernels.ALL, ("C0", "C3", "C2", "black", "C1"), strict=True))
STYLES = dict(zip(kernels.ALL, ("-", "-", "-", ":", "-"), strict=True))
"""The sigmoid's line lies on the hyperbolic's: dots let it through."""


def piecewise_linear():
    """Make f(x) = sum_j c_j relu(x - a_j), in float64; c_j is the change of slope at a_j."""
    first = keras.layers.Dense(len(EDGES), activation="relu", dtype="float64")
    last = keras.layers.Dense(1, use_bias=False, dtype="float64")
    model = keras.Sequential([keras.Input((1,), dtype="float64"), first, last])
    changes = np.diff(SLOPES, prepend=0, append=0)
    model.set_weights([np.ones([1, len(EDGES)]), -EDGES, changes[:, None]])
    return model


def smoothed_steps(kernel, epsilon, steps, x):
    """Give phi_eps * h at x, for the h with these steps between the edges, and 0 elsewhere."""
    cdf = np.asarray(kernel.cdf((EDGES - x[:, None]) / epsilon))
    return np.diff(cdf) @ steps


def smoothed(kernel, epsilon, x):
    """Give phi_eps * f at x by the midpoint rule on the kernel's quantiles."""
    u = (np.arange(2000) + 0.5) / 2000
    points = x[:, None] + epsilon * np.asarray(kernel.inverse_cdf(u))
    values = [0, *np.cumsum(SLOPES * np.diff(EDGES))]
    return np.interp(points, EDGES, values).mean(1)


def one_dimension(kernel, *, samples, confidence=0.95, x=X):
    """Compare SmoothGrad of f with the analytic gradient of phi_eps * f.

    Returns:
        SmoothGrad, the analytic gradient, and the analytic standard error of SmoothGrad, at x.
    """
    epsilon = kernels.epsilon(kernel, R, confidence)
    explainer = tfxai.smoothgrad(
        piecewise_linear(), samples=samples, epsilon=epsilon, kernel=kernel
    )
    found = explainer.explain(x[:, None], verbose=0).attributions[:, 0]
    mean, square = (smoothed_steps(kernel, epsilon, steps, x) for steps in (SLOPES, SLOPES**2))
    error = np.sqrt(np.maximum(square - mean**2, 0) / samples)
    # Where less than one sample is expected on another slope, errors are not normal.
    return found, mean, np.maximum(error, np.abs(SLOPES).max() / samples)


def photos(count, size):
    """Give a cat and up to 20 ImageNet photos, ``[count, H, W, 3]`` in 0..255."""
    files = [zoo.skimage_photo("chelsea"), *(file for file, _ in zoo.foolbox_photos())]
    return zoo.crops(files[:count], size)


def explainers(model, *, r, confidence, samples):
    """Give title -> explainer. The noise on weights has the paper's r = .01."""
    options = {"samples": samples, "confidence": confidence}
    found = {"gradient": tfxai.gradient(model)}
    for kernel in kernels.ALL:
        found[f"SmoothGrad, {kernel}"] = tfxai.smoothgrad(model, kernel=kernel, r=r, **options)
    return found | {"NoiseGrad, gaussian": tfxai.noisegrad(model, **options)}


def saliencies(explainers, x):
    """Give each explainer's maps, summed over channels with their signs as the authors do."""
    maps = {key: e.explain(x, verbose=0).attributions for key, e in explainers.items()}
    return {key: m.sum(-1, keepdims=True) for key, m in maps.items()}


def draw_kernels(path, comparison):
    """Draw f, its gradient, both smoothed, and the kernels."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    (above, left), (below, right) = figure.subplots(2, 2)
    fine = np.linspace(X[0], X[-1], 1401)
    above.plot(fine, piecewise_linear()(fine[:, None])[:, 0], color="0.75", linewidth=4)
    edges, steps = np.repeat(EDGES, 2), [0, *np.repeat(SLOPES, 2), 0]
    below.plot(edges, steps, color="0.75", linewidth=4)
    for kernel, (maps, _, _) in comparison.items():
        epsilon = kernels.epsilon(kernel, R, 0.95)
        line = {"color": COLOURS[kernel], "linestyle": STYLES[kernel], "label": str(kernel)}
        above.plot(fine, smoothed(kernel, epsilon, fine), **line)
        below.plot(fine, smoothed_steps(kernel, epsilon, SLOPES, fine), **line)
        below.plot(X[::4], maps[::4], ".", color=COLOURS[kernel], markersize=4)
    above.set(title=f"a piecewise linear f, smoothed (r = {R})", xlabel="x", ylabel="f")
    below.set(title="its gradient: analytic (lines), SmoothGrad (dots)", xlabel="x")
    below.set(ylabel="df / dx", ylim=(-2, 2))
    for panel, confidence in ((left, 0.9), (right, 0.95)):
        draw_densities(panel, confidence)
    above.legend(loc="upper left", frameon=False)
    figure.savefig(path, dpi=150)


def draw_densities(panel, confidence):
    """Draw the kernels that have the same mass within [-1, 1]."""
    t = np.linspace(-2, 2, 2001)
    for kernel in kernels.ALL:
        epsilon = kernels.epsilon(kernel, 1.0, confidence)
        density = np.asarray(kernel.pdf(t / epsilon)) / epsilon
        panel.plot(t, density, color=COLOURS[kernel], linestyle=STYLES[kernel], label=str(kernel))
    panel.axvspan(-1, 1, color="0.94", zorder=0)
    panel.set(title=f"kernels with the mass {confidence} in [-r, r]", xlabel="t / r")
    panel.set(ylabel="density", xlim=(-2, 2), ylim=(0, 1.6))


def draw_maps(path, images, labels, maps):
    """Draw the gradient and SmoothGrad with each kernel, and NoiseGrad."""
    shown = {title: list(m) for title, m in maps.items()}
    figure = plot.panel(images, shown, labels=labels, signs="absolute")
    figure.savefig(path, dpi=100)


def report_one_dimension(out):
    comparison = {kernel: one_dimension(kernel, samples=4000) for kernel in kernels.ALL}
    for kernel, (found, expected, error) in comparison.items():
        deviation = np.abs(found - expected)
        worst = (deviation / error).max()
        print(f"{kernel!s:12}largest deviation {deviation.max():.4f}, {worst:.1f} standard errors")
    draw_kernels(out / "gradient_kernels.png", comparison)
    print(f"wrote {out / 'gradient_kernels.png'}")


def report_photos(out, count, **options):
    classifier = zoo.load("efficientnet-lite0")
    images = photos(count, classifier.size)
    x = classifier.preprocess(images)
    r = float(x.max() - x.mean())
    maps = saliencies(explainers(classifier.model, r=r, **options), x)
    best = classifier.model.predict(x, verbose=0).argmax(1)
    labels = [classifier.names[i].split(",")[0] for i in best]
    draw_maps(out / "gradient_kernels_maps.png", images, labels, maps)
    print(f"wrote {out / 'gradient_kernels_maps.png'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for what is written")
    parser.add_argument("--photos", type=int, default=3, help="up to 21; 0: the line alone")
    parser.add_argument("--samples", type=int, default=50, help="of SmoothGrad and NoiseGrad")
    parser.add_argument("--confidence", type=float, default=0.95, help="alpha, on photos")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    report_one_dimension(given.out)
    if given.photos:
        options = {"confidence": given.confidence, "samples": given.samples}
        report_photos(given.out, given.photos, **options)


if __name__ == "__main__":
    main()
