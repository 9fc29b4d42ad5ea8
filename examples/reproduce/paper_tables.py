"""Tables and figures of the papers, as presets of tfxai's benchmark.

    python examples/reproduce/paper_tables.py degradation --data photos
    python examples/reproduce/paper_tables.py consistency --data mlp
    python examples/reproduce/paper_tables.py deletion --images DIR --model VGG19 --count 5000

| preset | of | what |
|---|---|---|
| degradation | PGIG, Fig. 3 | the probability while patches are degraded, eleven methods |
| sparseness | AdaptGrad, Table 2 | Gini index and information level of S- and A- maps |
| consistency | AdaptGrad, Table 1 | likeness to maps of random labels, and of shifted inputs |
| kernels | kernels, Table 1 | the same and sparseness, five kernels on inputs, weights and both |
| deletion | I-GOS, Tables 1 and 2 | deletion and insertion of masks |

PGIG is Schwarzenberg and Castle 2020, AdaptGrad Zhou et al. 2024a, kernels Zhou et al. 2024b and
I-GOS Qi et al. 2020; docs/methods.md lists them, with the settings of their experiments.

``--data`` is photos, mlp or cnn (MNIST); `subjects.py` says which. Each run writes tables, curves
and a report into ``--out``, and goes on where it was when it is repeated. consistency is of digits
alone, since it trains networks; deletion of photos. What was found here is in the README.
"""

import argparse
from functools import partial
from pathlib import Path

import subjects
from rich.console import Console

import tfxai
from tfxai import benchmark, kernels, quadrature
from tfxai.cli.benchmark import results_table
from tfxai.cli.demo import EXCITATION_LAYERS

SHIFT = 1.0
"""What Zhou et al. 2024a add to the digits."""


def degradation(subject, given):
    """Schwarzenberg and Castle 2020, Fig. 3; with as many samples as there."""
    patterns = tfxai.fit_patterns(subject.model, subject.references, verbose=0)
    noise = {"samples": 25, "noise_level": 0.15}

    def smoothed_ig(model):
        ig = tfxai.integrated_gradients(model, steps=16, quadrature=quadrature.gauss_legendre)
        return tfxai.smoothgrad(ig, **noise)

    methods = {
        "random": tfxai.random_attribution,
        "gradient": tfxai.gradient,
        "gradient x input": tfxai.gradient_times_input,
        "IG": partial(tfxai.integrated_gradients, steps=25),
        "VarGrad": partial(tfxai.vargrad, **noise),
        "SG squared": partial(tfxai.smoothgrad_squared, **noise),
        "SG-IG": smoothed_ig,
        "expected gradients": lambda m: tfxai.expected_gradients(
            m, subject.references[:49], samples=49
        ),
        "guided backprop": tfxai.guided_backprop,
        "PatternAttribution": lambda m: tfxai.pattern_attribution(m, patterns),
        "PGIG": lambda m: tfxai.pattern_guided_integrated_gradients(m, patterns),
    }
    return methods, {"degradation": benchmark.degradation(patch=subject.patch)}


def smoothings(bounds, samples):
    """Give the gradient, SmoothGrad and AdaptGrad (Zhou et al. 2024a) as functions of a model."""

    def adaptive(model):
        # A shifted model's inputs have shifted bounds; the authors' code forgot.
        shift = SHIFT * model.name.endswith("_shifted")
        moved = tuple(b + shift for b in bounds)
        return tfxai.adaptgrad(model, bounds=moved, samples=samples)

    epsilon = 0.2 * (bounds[1] - bounds[0])
    return {
        "": tfxai.gradient,
        "S-": partial(tfxai.smoothgrad, samples=samples, epsilon=epsilon),
        "A-": adaptive,
    }


def sparseness(subject, given):
    """Zhou et al. 2024a, Table 2: gradient, GI, and IG of two baselines, each with S- and A-."""
    many, few = (smoothings(subject.bounds, n) for n in (50, 10))
    ends = dict(zip(("black", "white"), subject.bounds, strict=True))
    methods = {f"{prefix}gradient": build for prefix, build in many.items()}
    for prefix, build in many.items():
        methods[f"{prefix}GI"] = partial(after, tfxai.gradient_times_input, build)
    for name, end in ends.items():
        integrate = partial(
            tfxai.integrated_gradients,
            baseline=end,
            steps=16,
            quadrature=quadrature.gauss_legendre,
        )
        for prefix, build in few.items():
            methods[f"{prefix}IG {name}"] = partial(after, integrate, build)
    for prefix, build in few.items():
        noisy = partial(tfxai.noisegrad, samples=10, epsilon=0.2)
        methods[f"{prefix}NG"] = partial(after, noisy, build)
    thresholds = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    options = {"masks": given.masks, "thresholds": thresholds}
    return methods, {
        "gini": benchmark.gini(),
        "SIC": benchmark.sic(**options),
        "AIC": benchmark.aic(**options),
    }


def after(outer, inner, model):
    """Compose two functions of a model."""
    return outer(inner(model))


def consistency(subject, given):
    """Zhou et al. 2024a, Table 1; and the older readings, against random weights, and exactly."""
    data = subjects.mnist()
    random = subjects.trained(given.data, data, given.epochs, random_labels=True)
    shifted = subjects.trained(given.data, data, given.epochs, shift=SHIFT)
    methods = {
        {"": "gradient", "S-": "SmoothGrad", "A-": "AdaptGrad"}[prefix]: build
        for prefix, build in smoothings(subject.bounds, 50).items()
    }
    methods["NoiseGrad"] = partial(tfxai.noisegrad, samples=50, epsilon=0.2)
    methods["gradient x input"] = tfxai.gradient_times_input
    methods["IG"] = partial(tfxai.integrated_gradients, steps=32)
    methods["guided backprop"] = tfxai.guided_backprop
    return methods, likeness(random, shifted)


def likeness(random, shifted):
    """Give both readings of consistency and of invariance."""
    return {
        "consistency, random labels": benchmark.consistency(other=random),
        "consistency, random weights": benchmark.consistency(),
        "invariance, retrained": benchmark.invariance(shift=SHIFT, retrained=shifted),
        "invariance, exact": benchmark.invariance(shift=SHIFT),
    }


def gradient_kernels(subject, given):
    """Zhou et al. 2024b, Table 1: each kernel on inputs (SG), weights (NG) and both (FG)."""
    r = float(subject.references.max() - subject.references.mean())
    options = {"confidence": 0.95}
    methods = {"gradient": tfxai.gradient}
    for kernel in kernels.ALL:
        one = {"kernel": kernel, "samples": given.samples, **options}
        both = {"kernel": kernel, "samples": (10, 10), "input_r": r, **options}
        methods[f"SG, {kernel}"] = partial(tfxai.smoothgrad, r=r, **one)
        methods[f"NG, {kernel}"] = partial(tfxai.noisegrad, **one)
        methods[f"FG, {kernel}"] = partial(tfxai.fusiongrad, **both)
    metrics = {"gini": benchmark.gini()}
    if given.data == "photos":
        return methods, metrics
    data = subjects.mnist()
    random = subjects.trained(given.data, data, given.epochs, random_labels=True)
    shifted = subjects.trained(given.data, data, given.epochs, shift=SHIFT)
    return methods, metrics | likeness(random, shifted)


def deletion(subject, given):
    """Qi et al. 2020, Tables 1 and 2, at each resolution; every map is averaged over its cells."""
    methods = {}
    for cells in given.resolutions:
        methods[f"I-GOS {cells}"] = partial(tfxai.igos, resolution=cells)
        methods[f"meaningful perturbation {cells}"] = partial(
            tfxai.meaningful_perturbation, resolution=cells
        )
    methods |= {
        "RISE": partial(tfxai.rise, masks=given.rise),
        "excitation backprop": partial(
            tfxai.excitation_backprop, layer=EXCITATION_LAYERS.get(given.model)
        ),
        "Grad-CAM": tfxai.grad_cam,
        "IG": tfxai.integrated_gradients,
        "gradient": tfxai.gradient,
        "random": tfxai.random_attribution,
    }
    metrics = {}
    for cells in given.resolutions:
        metrics[f"deletion {cells}"] = benchmark.deletion(cells=cells)
        metrics[f"insertion {cells}"] = benchmark.insertion(cells=cells)
    return methods, metrics


PRESETS = {
    "degradation": (degradation, ("photos", "mlp", "cnn")),
    "sparseness": (sparseness, ("photos", "mlp", "cnn")),
    "consistency": (consistency, ("mlp", "cnn")),
    "kernels": (gradient_kernels, ("photos", "mlp", "cnn")),
    "deletion": (deletion, ("photos",)),
}
"""Each with the data that it is of."""
ABSOLUTE = ("deletion",)
"""Presets that look at the sizes of attributions; the others keep signs, as the papers do."""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("--data", choices=("photos", "mlp", "cnn"), help="the preset's first")
    parser.add_argument("--images", type=Path, help="folder of photos, instead of foolbox's")
    parser.add_argument("--model", default="efficientnet-lite0", help="any that tfxai.zoo has")
    parser.add_argument("--weights", default="imagenet", help="'imagenet', 'none' or a file")
    parser.add_argument("--count", type=int, help="of images [all photos, 200 digits]")
    parser.add_argument("--epochs", type=int, default=20, help="of training on digits")
    parser.add_argument("--samples", type=int, default=50, help="of each kernel")
    parser.add_argument("--masks", type=int, default=1, help="random sets of sparseness; 10 there")
    parser.add_argument("--rise", type=int, default=2000, help="masks of RISE; 4000 there")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[28], help="of masks")
    parser.add_argument("--out", type=Path, default=Path("paper_tables"), help="folder")
    given = parser.parse_args()
    preset, possible = PRESETS[given.preset]
    given.data = given.data or possible[0]
    if given.data not in possible:
        parser.error(f"--data {given.data}: {given.preset} is of {', '.join(possible)}")
    of_photos = given.data == "photos"
    subject = subjects.photos(given) if of_photos else subjects.digits(given)
    methods, metrics = preset(subject, given)
    results = benchmark.run(
        subject.model,
        subject.images,
        methods,
        metrics,
        given.out / f"{given.preset}-{subject.name}",
        bounds=subject.bounds,
        sign="absolute" if given.preset in ABSOLUTE else "signed",
        batch_size=4 if of_photos else 50,
        class_names=subject.names,
    )
    Console(width=160).print(results_table(results))
    print(f"wrote {results.directory / 'report.html'}")


if __name__ == "__main__":
    main()
