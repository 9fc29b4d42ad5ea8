"""Explain all photos of a folder with Ray, in several processes, into Parquet files.

Exports EfficientNet-Lite0 with integrated gradients, has the workers explain the folder, and lists
what they found. Stop it at any time, kill a worker: the same command goes on with what is missing.
Needs the extras demo and ray, and a minute or two.
"""

import argparse
from pathlib import Path

import tfxai
from tfxai import scale, zoo


def exported(folder):
    """Give the model, written once."""
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
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, nargs="?", help="a folder [photos of foolbox]")
    parser.add_argument("--out", type=Path, default=Path("explained"), help="folder to write")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    model = exported(given.out / "model")
    told = scale.explain_dataset(
        model,
        given.images or [file for file, _ in zoo.foolbox_photos()],
        given.out / "maps",
        given.workers,
        dtype="float16",
        batch_size=4,
        shard_size=8,
    )
    names = tfxai.serving.metadata(model)["class_names"]
    for row in scale.read(told.folder):
        name = Path(row["path"]).name
        if row["error"]:
            print(f"{name}: {row['error']}")
        else:
            print(f"{name}: {names[row['target']].split(', ')[0]}, logit {row['score']:.1f}, "
                  f"completeness gap {row['completeness_gap']:.3f}")  # fmt: skip
    print(f"{told.images} images, {told.errors} errors, {told.explained_now} explained now; "
          f"maps in {told.folder}")  # fmt: skip


if __name__ == "__main__":
    main()
