"""``tfxai demo``: real photos, a trained classifier, and the maps of every method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.figure import Figure
from rich.progress import track
from rich.table import Column, Table

import tfxai
from tfxai import plot, zoo
from tfxai.cli.terminal import (
    UserError,
    collected_warnings,
    console,
    print_line,
    print_warning,
)
from tfxai.explaining.explanation import Explanation

SKIMAGE_PHOTOS = ("chelsea", "coffee")
FOOLBOX_PHOTOS = (0, 15)
SIGNED_TITLES = {
    "gradient times input",
    "integrated gradients",
    "expected gradients",
    "occlusion",
}
"""Titles of methods whose maps are contributions to the score, and are drawn with signs."""
EXCITATION_LAYERS = {"efficientnet-lite0": "block10_add", "ResNet50": "conv4_block6_out"}
"""The layer at which excitation backprop stops, for models of the zoo."""
_ACCURACY_COLUMNS = {
    "map error": ("map_error", "residual"),
    "picture": ("pooled_error",),
    "gap": ("completeness_gap",),
    "taken": ("steps", "samples", "iterations"),
}
"""Columns of the table of accuracies, and the diagnostics that each shows."""


def demo(
    out: Annotated[Path, typer.Option(help="The folder that the panel is written to.")] = Path(
        "demo"
    ),
    model: Annotated[
        str, typer.Option(help="The name of a model of the zoo, such as ResNet50.")
    ] = "efficientnet-lite0",
) -> None:
    """Explain a few real photos with a trained ImageNet classifier by every method."""
    try:
        classifier = zoo.load(model)
        photos = demo_photos(classifier.size)
    except (ValueError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error
    for name, line in predictions(classifier, photos):
        print_line(f"{name}: {line}")
    with collected_warnings() as warnings:
        records = explain_photos(model, classifier, photos)
    for message in warnings:
        print_warning(message)
    console.print(accuracy_table(records, list(photos)))
    out.mkdir(parents=True, exist_ok=True)
    path = out / "panel.png"
    panel(photos, records).savefig(path, dpi=110)
    print_line(f"wrote {path}")


def demo_photos(size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Read a few photos at a classifier's size, ``[H, W, 3]`` in 0..255, by name."""
    files = {name: zoo.skimage_photo(name) for name in SKIMAGE_PHOTOS}
    labelled = zoo.foolbox_photos()
    files |= {labelled[i][0].stem: labelled[i][0] for i in FOOLBOX_PHOTOS}
    return dict(zip(files, zoo.crops(files.values(), size), strict=True))


def predictions(classifier: zoo.Classifier, photos: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    """Give each photo's name and its five most probable classes, as text."""
    inputs = classifier.preprocess(np.stack(list(photos.values())))
    probabilities = classifier.model.predict(inputs, verbose=0)
    lines = []
    for name, row in zip(photos, probabilities, strict=True):
        best = np.argsort(-row)[:5]
        lines.append((name, ", ".join(f"{_class_name(classifier, i)} {row[i]:.1%}" for i in best)))
    return lines


def explainers(
    name: str, classifier: zoo.Classifier, references: np.ndarray
) -> dict[str, tfxai.Explainer]:
    """Build every method, most of them with their defaults.

    Args:
        name: the classifier's name in the zoo.
        classifier: the model to explain, with its bounds.
        references: other photos, ``[N, H, W, 3]`` as the model takes them. Patterns are fitted on
            them, and they are the baselines of expected gradients.
    """
    model = classifier.model
    patterns = tfxai.fit_patterns(model, references, verbose=0)
    # PatternNet's maps grow with every layer, beyond what float32 holds.
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
        "excitation backprop": tfxai.excitation_backprop(model, layer=EXCITATION_LAYERS.get(name)),
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


def explain_photos(
    name: str, classifier: zoo.Classifier, photos: dict[str, np.ndarray]
) -> dict[str, Explanation]:
    """Explain the photos by every method; foolbox's other photos serve as references."""
    inputs = classifier.preprocess(np.stack(list(photos.values())))
    others = [p for i, (p, _) in enumerate(zoo.foolbox_photos()) if i not in FOOLBOX_PHOTOS]
    references = classifier.preprocess(zoo.crops(others, classifier.size))
    by_method = explainers(name, classifier, references)
    progress = track(by_method.items(), "Explaining", console=console)
    return {method: explainer.explain(inputs, verbose=0) for method, explainer in progress}


def accuracy_table(records: dict[str, Explanation], photos: list[str]) -> Table:
    """Tabulate the accuracy that methods state of their own maps, photo by photo."""
    table = Table(Column("method", no_wrap=True), Column("photo", no_wrap=True), *_ACCURACY_COLUMNS)
    for method, record in records.items():
        if set(_ACCURACY_COLUMNS["map error"]) & set(record.diagnostics):
            for i, photo in enumerate(photos):
                table.add_row(method, photo, *_accuracy_cells(record, i))
    return table


def _accuracy_cells(record: Explanation, index: int) -> list[str]:
    diagnostics = record.diagnostics
    return [
        " ".join(f"{diagnostics[key][index]:.3g}" for key in keys if key in diagnostics)
        for keys in _ACCURACY_COLUMNS.values()
    ]


def panel(photos: dict[str, np.ndarray], records: dict[str, Explanation]) -> Figure:
    """Draw each photo beside its maps, contributions with signs, others by absolute value."""
    first = next(iter(records.values()))
    labels = [name.split(",")[0] for name in first.target_names]
    maps = {name: record.attributions for name, record in records.items()}
    signs = ["signed" if name in SIGNED_TITLES else "absolute" for name in maps]
    return plot.panel(list(photos.values()), maps, labels=labels, signs=signs, across=9)


def _class_name(classifier: zoo.Classifier, index: int) -> str:
    return classifier.names[index].split(",")[0] if classifier.names else str(index)
