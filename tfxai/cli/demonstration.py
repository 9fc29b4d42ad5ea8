"""What ``make demo`` shows: real photos, a trained classifier, and every method's maps."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

import tfxai
from tfxai import plot, zoo
from tfxai.explaining.explanation import Explanation

SKIMAGE_PHOTOS = ("chelsea", "coffee")
FOOLBOX_PHOTOS = (0, 15)
_NUMBERS = {
    "map error": ("map_error", "residual"),
    "picture": ("pooled_error",),
    "gap": ("completeness_gap",),
    "taken": ("steps", "samples", "iterations"),
}
"""Columns of the table, and the numbers of a record that they show."""
SIGNED = {"gradient times input", "integrated gradients", "expected gradients", "occlusion"}
MIDDLE = {"efficientnet-lite0": "block10_add", "ResNet50": "conv4_block6_out"}
"""Where excitation backprop stops, in models that we know."""


def photos(size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Give a few photos by name, ``[H, W, 3]`` in 0..255."""
    files = {name: zoo.skimage_photo(name) for name in SKIMAGE_PHOTOS}
    labelled = zoo.foolbox_photos()
    files |= {labelled[i][0].stem: labelled[i][0] for i in FOOLBOX_PHOTOS}
    return dict(zip(files, zoo.crops(files.values(), size), strict=True))


def predictions(classifier: zoo.Classifier, photos: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    """Give the five likeliest classes of each photo, as text."""
    pixels = classifier.preprocess(np.stack(list(photos.values())))
    lines = []
    for name, row in zip(photos, classifier.model.predict(pixels, verbose=0), strict=True):
        best = np.argsort(-row)[:5]
        names = [_class_name(classifier, i) for i in best]
        lines.append(
            (name, ", ".join(f"{n} {row[i]:.1%}" for n, i in zip(names, best, strict=True)))
        )
    return lines


def explainers(
    name: str, classifier: zoo.Classifier, references: np.ndarray
) -> dict[str, tfxai.Explainer]:
    """Give every method, most with their defaults; patterns are fitted on the references."""
    model = classifier.model
    patterns = tfxai.fit_patterns(model, references, verbose=0)
    # Its maps grow with every layer, beyond what float32 holds.
    double = zoo.load(name, dtype="float64").model
    return {
        "gradient": tfxai.gradient(model),
        "gradient times input": tfxai.gradient_times_input(model),
        "integrated gradients": tfxai.integrated_gradients(model),
        "expected gradients": tfxai.expected_gradients(model, references),
        "smoothgrad": tfxai.smoothgrad(model),
        "smoothgrad squared": tfxai.smoothgrad_squared(model),
        "vargrad": tfxai.vargrad(model),
        "adaptgrad": tfxai.adaptgrad(model, bounds=classifier.bounds),
        "noisegrad": tfxai.noisegrad(model),
        "fusiongrad": tfxai.fusiongrad(model, samples=(10, 5)),
        "cafo": tfxai.cafo(model, lambda1="bisect"),
        "caso": tfxai.caso(model, lambda1="bisect"),
        "random": tfxai.random_attribution(model),
        "guided backprop": tfxai.guided_backprop(model),
        "deconvnet": tfxai.deconvnet(model),
        "excitation backprop": tfxai.excitation_backprop(model, layer=MIDDLE.get(name)),
        "grad-cam": tfxai.grad_cam(model),
        "guided grad-cam": tfxai.guided_grad_cam(model),
        "i-gos": tfxai.igos(model),
        "meaningful perturbation": tfxai.meaningful_perturbation(model, iterations=150),
        "rise": tfxai.rise(model, masks=600),
        "occlusion": tfxai.occlusion(model),
        "patternnet": tfxai.pattern_net(double, patterns),
        "pattern attribution": tfxai.pattern_attribution(model, patterns),
        "pattern-guided ig": tfxai.pattern_guided_integrated_gradients(model, patterns),
    }


def records(
    name: str, classifier: zoo.Classifier, photos: dict[str, np.ndarray], console: Console
) -> dict[str, Explanation]:
    """Explain the photos by every method; the other labelled photos serve as references."""
    inputs = classifier.preprocess(np.stack(list(photos.values())))
    others = [p for i, (p, _) in enumerate(zoo.foolbox_photos()) if i not in FOOLBOX_PHOTOS]
    references = classifier.preprocess(zoo.crops(others, classifier.size))
    methods = explainers(name, classifier, references)
    steps = track(methods.items(), "Explaining", console=console)
    return {method: explainer.explain(inputs, verbose=0) for method, explainer in steps}


def accuracy_table(records: dict[str, Explanation], photos: list[str]) -> Table:
    """Tabulate what the methods that know their errors say of them."""
    table = Table(Column("method", no_wrap=True), Column("photo", no_wrap=True), *_NUMBERS)
    for method, record in records.items():
        for i, photo in enumerate(photos):
            if set(_NUMBERS["map error"]) & set(record.diagnostics):
                cells = (
                    [
                        f"{record.diagnostics[key][i]:.3g}"
                        for key in keys
                        if key in record.diagnostics
                    ]
                    for keys in _NUMBERS.values()
                )
                table.add_row(method, photo, *(" ".join(cell) for cell in cells))
    return table


def panel(photos: dict[str, np.ndarray], records: dict[str, Explanation]) -> Figure:
    """Draw each photo beside its maps: signed where they sum to the score, else their size."""
    first = next(iter(records.values()))
    labels = [f"{name.split(',')[0]}" for name in first.target_names]
    maps = {name: record.attributions for name, record in records.items()}
    signs = ["signed" if name in SIGNED else "absolute" for name in maps]
    return plot.panel(list(photos.values()), maps, labels=labels, signs=signs, across=9)


def _class_name(classifier: zoo.Classifier, index: int) -> str:
    return classifier.names[index].split(",")[0] if classifier.names else str(index)
