"""CAFO and CASO (Singla et al. 2019): where the Hessian matters.

Fig. 1 has the difference of CASO's and CAFO's maps without lambda1 against the confidence. Here it
is the L2 norm, each map scaled to norm 1; the paper's scale is not known to us. Fig. 3 shows CASO's
maps for several lambda1, Fig. 4 other methods' beside them. Fig. 5 to 7 are about the Hessian's
rank. Here W is random in H = W (diag p - p p^T) W^T, and all classes but the first are alike.

Other than in the paper the classifier is EfficientNet-Lite0; there are 22 photos, and again with
noise, for less confidence. Smooth CASO has 8 samples (there 50). In Fig. 4 "bisect" finds lambda1.
Gradient, SmoothGrad and IG explain the logit. The inputs are in [0, 1], with IG's baseline at 0.

Found, with the defaults: the difference falls with the confidence (rank correlation -.87): it is
.004 to .06 above .9 and .06 to .61 below .5. The paper's sweep by decades mostly overshoots: 17 of
44 maps have more than .99 of their pixels zero, the median is .986. In the simulation g is along
the top eigenvector (but 13 degrees off for 10 classes at .12), and the best error of rank one does
not vanish for p_1 -> 1: it is .27 with 10 classes, .10 with 100, .036 with 1,000. Theorem 4's
g g^T / (1 - p_1) comes to it only there: it is 1 / p_1 too large, an error of 1 at p_1 = .5.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import tfxai
from tfxai import plot, zoo

LAMBDAS = (0, 1e-5, 1e-4, 1e-3, 6.25e-3, 1.25e-2, 2.5e-2, 5e-2, "auto", "bisect")
NOISE = 0.2
"""Standard deviation of what makes a photo's class less certain."""
FEATURES = 3072
"""Rows of the simulated Jacobian."""
BY_CLASSES = ((2, 3, 5, 10, 20, 50, 100, 200, 500, 1000), (0.5, 0.9, 0.99))
BY_CONFIDENCE = ((0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99), (10, 100, 1000))
"""What is on the panel's axis, and what each of its lines has."""


def probabilities(classes, confidence):
    """Give p, where all classes but the first are as likely as each other."""
    return np.array([confidence, *[(1 - confidence) / (classes - 1)] * (classes - 1)])


def rank_one(gram, p):
    """See how far H = W (diag p - p p^T) W^T is from rank one, by c x c matrices alone.

    Returns:
        The relative Frobenius error of the best approximation of rank one, that of Theorem 4's
        g g^T / (1 - p_1), and the cosine of g = W (p - e_1) with the top eigenvector.
    """
    factor = np.diag(np.sqrt(p)) - np.outer(p, np.sqrt(p))
    values, vectors = np.linalg.eigh(factor.T @ gram @ factor)
    size = np.linalg.norm(values)
    gradient = p - np.eye(len(p))[0]
    missing = np.diag(p) - np.outer(p, p) - np.outer(gradient, gradient) / (1 - p[0])
    half = missing @ gram
    error = np.sqrt(max((half * half.T).sum(), 0))
    along = gradient @ gram @ factor @ vectors[:, -1]
    cosine = abs(along) / np.sqrt(values[-1] * (gradient @ gram @ gradient))
    return np.linalg.norm(values[:-1]) / size, error / size, cosine


def orthonormal_error(classes, confidence):
    """Give the best error of rank one where the columns of W are orthonormal.

    g is an eigenvector then; its eigenvalue is c p_1 times that of c - 2 others.
    """
    return np.sqrt((classes - 2) / ((classes * confidence) ** 2 + classes - 2))


def simulation(classes, confidences, *, draws=2, features=FEATURES):
    """Give the means of `rank_one` over draws of W, ``[len(confidences), 3]``."""
    jacobians = np.random.default_rng(0).standard_normal([draws, features, classes])
    grams = jacobians.swapaxes(1, 2) @ jacobians
    found = [[rank_one(g, probabilities(classes, c)) for g in grams] for c in confidences]
    return np.mean(found, 1)


def draw_simulation(path, by_classes, by_confidence, **effort):
    """Draw the errors against the classes, and errors and angle against the confidence."""
    figure = Figure(figsize=(14, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    classes, some = by_classes
    found = np.array([simulation(c, some, **effort) for c in classes])
    expected = orthonormal_error(np.array(classes)[:, None], np.array(some))
    for i, confidence in enumerate(some):
        draw_errors(left, classes, found[:, i], expected[:, i], i, f"confidence {confidence}")
    left.set(xscale="log", xlabel="classes")
    confidences, some = by_confidence
    for i, classes in enumerate(some):
        found = simulation(classes, confidences, **effort)
        expected = orthonormal_error(classes, np.array(confidences))
        draw_errors(middle, confidences, found, expected, i, f"{classes} classes")
        angle = np.degrees(np.arccos(np.minimum(found[:, 2], 1)))
        right.plot(confidences, angle, color=f"C{i}", label=f"{classes} classes")
    for panel in (left, middle):
        panel.set(ylim=(0, 1.05), ylabel="relative Frobenius error")
        panel.set_title("best of rank one (—), Theorem 4 (- -), W orthonormal (···)", size=10)
    middle.set(xlabel="confidence p_1", xlim=(0, 1))
    right.set(xlabel="confidence p_1", xlim=(0, 1), yscale="log", ylabel="degrees")
    right.set_title("angle of the gradient and the top eigenvector", size=10)
    for panel in figure.axes:
        panel.legend(frameon=False)
    figure.savefig(path, dpi=120)


def draw_errors(panel, across, found, expected, colour, label):
    panel.plot(across, found[:, 0], color=f"C{colour}", label=label)
    panel.plot(across, found[:, 1], "--", color=f"C{colour}")
    panel.plot(across, expected, ":", color="black")


def photos(count, size):
    """Give a cat, a cup of coffee and up to 20 ImageNet photos, ``[count, H, W, 3]`` in 0..1."""
    files = [*map(zoo.skimage_photo, ("chelsea", "coffee")), *(f for f, _ in zoo.foolbox_photos())]
    return zoo.crops(files[:count], size) / 255


def noisy(images):
    """Give the images with noise, within 0..1."""
    noise = np.random.default_rng(0).normal(0, NOISE, images.shape)
    return np.clip(images + noise, 0, 1).astype(images.dtype)


def difference(first, second):
    """Give the L2 norm of the difference of each two maps, both scaled to 1."""
    first, second = (maps.reshape(len(maps), -1) for maps in (first, second))
    first, second = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (first, second))
    return np.linalg.norm(first - second, axis=1)


def rank_correlation(a, b):
    """Give Spearman's, of numbers without ties."""
    return np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1]


def draw_differences(path, rows):
    """Draw the difference of CASO and CAFO against the confidence."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for version, colour in (("clean", "C0"), ("noisy", "C1")):
        shown = [row for row in rows if row["version"] == version]
        values = ([row[name] for row in shown] for name in ("confidence", "difference"))
        axes.scatter(*values, color=colour, label=version)
    axes.set(xlim=(0, 1.02), ylim=(0, None), xlabel="confidence")
    axes.set_ylabel("|CASO - CAFO|, each of norm 1")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def draw_sparsity(path, images, labels, records):
    """Draw the maps for each lambda1 with the share of their pixels that are zero."""
    figure = Figure((1.75 * (1 + len(records)), 2.15 * len(images)), layout="constrained")
    for i, row in enumerate(figure.subplots(len(images), 1 + len(records), squeeze=False)):
        row[0].imshow(images[i])
        row[0].set_title(labels[i], size=9, parse_math=False)
        row[0].set_axis_off()
        for axes, (name, record) in zip(row[1:], records.items(), strict=True):
            plot.draw_map(record.attributions[i], sign="absolute", axes=axes)
            value, zero = (record.diagnostics[n][i] for n in ("lambda1", "sparsity"))
            found = f"{name}: " if isinstance(name, str) else ""
            axes.set_title(f"{found}λ1 = {value:.3g}\n{100 * zero:.2f} % zero", size=9)
    figure.savefig(path, dpi=150)


def methods(model, caso, samples, units):
    """Give title -> explainer, all of them of inputs in 0..1."""
    options = {"lambda1": "bisect", **units}
    return {
        "CASO": caso,
        f"smooth CASO ({samples})": tfxai.caso(model, samples=samples, **options),
        "CAFO": tfxai.cafo(model, **options),
        "gradient": tfxai.gradient(caso.model),
        "SmoothGrad": tfxai.smoothgrad(caso.model),
        "IG": tfxai.integrated_gradients(caso.model),
    }


def table(linear, first, sparse):
    """Give a row for each photo, then for each with noise, of three records.

    They are those of CASO and CAFO with lambda1 = 0, and of CASO with the lambda1 that is found.
    """
    count = len(linear.targets) // 2
    columns = {
        "photo": [*range(count)] * 2,
        "version": ["clean"] * count + ["noisy"] * count,
        "class": linear.target_names,
        "confidence": np.exp(-linear.scores),
        "difference": difference(linear.attributions, first.attributions),
        "L": linear.diagnostics["max_eigenvalue"],
        **{name: sparse.diagnostics[name] for name in ("lambda1", "sparsity", "residual")},
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def report_differences(out, rows):
    with (out / "caso.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    draw_differences(out / "caso.png", rows)
    apart = np.array([row["difference"] for row in rows])
    for name in ("confidence", "L"):
        correlation = rank_correlation(np.array([row[name] for row in rows]), apart)
        print(f"rank correlation of |CASO - CAFO| and {name}: {correlation:.3f}")
    print(f"wrote {out / 'caso.csv'} and {out / 'caso.png'}")


def report_photos(out, count, samples):
    classifier = zoo.load("efficientnet-lite0")
    low, high = classifier.bounds
    model, units = classifier.model, {"preprocess": lambda x: x * (high - low) + low}
    casos = {value: tfxai.caso(model, lambda1=value, **units) for value in LAMBDAS}
    images = photos(count, classifier.size)
    both = np.concatenate([images, noisy(images)])
    three = (casos[0], tfxai.cafo(model, lambda1=0, **units), casos["auto"])
    rows = table(*(explainer.explain(both, verbose=0) for explainer in three))
    report_differences(out, rows)

    order = np.argsort([row["confidence"] for row in rows[:count]])
    chosen = order[sorted({0, count // 2, count - 1})]
    labels = [f"{rows[i]['class'].split(',')[0]}, {rows[i]['confidence']:.3f}" for i in chosen]
    images = images[chosen]
    records = {value: caso.explain(images, verbose=0) for value, caso in casos.items()}
    draw_sparsity(out / "caso_sparsity.png", images, labels, records)
    explainers = methods(model, casos["bisect"], samples, units)
    maps = {n: list(e.explain(images, verbose=0).attributions) for n, e in explainers.items()}
    figure = plot.panel(images, maps, labels=labels, signs="absolute")
    figure.savefig(out / "caso_methods.png", dpi=120)
    print(f"wrote {out / 'caso_sparsity.png'} and {out / 'caso_methods.png'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for what is written")
    parser.add_argument("--photos", type=int, default=22, help="up to 22; 0: the simulation alone")
    parser.add_argument("--samples", type=int, default=8, help="of smooth CASO; the paper's are 50")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    draw_simulation(given.out / "caso_simulation.png", BY_CLASSES, BY_CONFIDENCE)
    print(f"wrote {given.out / 'caso_simulation.png'}")
    if given.photos:
        report_photos(given.out, given.photos, given.samples)


if __name__ == "__main__":
    main()
