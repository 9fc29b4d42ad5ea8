"""Explain all photos of a folder with Ray, in several processes, into Parquet files.

Exports EfficientNet-Lite0 with integrated gradients, has the workers explain the folder, and prints
a line for each photo. Whenever the command or a worker is stopped, the same command continues with
the photos that are missing. Needs the extras demo and ray, and a minute or two.
"""

import argparse
from pathlib import Path

import tfxai
from tfxai import scale, zoo


def export_once(folder):
    """Export the model, unless the folder is there already."""
    if not folder.exists():
        classifier = zoo.load("efficientnet-lite0")
        tfxai.export(
            classifier.model,
            folder,
            {"ig": tfxai.integrated_gradients(classifier.model, steps=32)},
            inputs="bytes",
            preprocess=classifier.preprocess,
            class_names=classifier.names,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, nargs="?", help="a folder [default: foolbox's photos]")
    parser.add_argument("--out", type=Path, default=Path("explained"), help="the folder to write")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    model = arguments.out / "model"
    export_once(model)
    summary = scale.explain_dataset(
        model,
        arguments.images or [file for file, _ in zoo.foolbox_photos()],
        arguments.out / "maps",
        arguments.workers,
        dtype="float16",
        batch_size=4,
        shard_size=8,
    )
    names = tfxai.serving.metadata(model)["class_names"]
    for row in scale.read(summary.folder):
        name = Path(row["path"]).name
        if row["error"]:
            print(f"{name}: {row['error']}")
        else:
            print(f"{name}: {names[row['target']].split(', ')[0]}, logit {row['score']:.1f}, "
                  f"completeness gap {row['completeness_gap']:.3f}")  # fmt: skip
    print(f"{summary.images} images, {summary.errors} errors, {summary.explained_now} explained "
          f"now; maps in {summary.folder}")  # fmt: skip


if __name__ == "__main__":
    main()
