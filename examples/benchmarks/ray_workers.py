"""How many images a second one and two of Ray's workers explain, with EfficientNet-Lite0.

Starting Ray and the workers is not counted: the clock runs from the first shard to the last.
Prints each run, one and two workers in turn.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import tfxai
from tfxai import scale, zoo

SHARD = 8


def rate(out):
    """Give images per second, after the first shard."""
    times = sorted(path.stat().st_mtime for path in out.glob("part-*"))
    return SHARD * (len(times) - 1) / (times[-1] - times[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4)
    given = parser.parse_args()
    classifier = zoo.load("efficientnet-lite0")
    photos = [file for file, _ in zoo.foolbox_photos()]
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "photos"
        folder.mkdir()
        for i in range(given.images):
            shutil.copy(photos[i % len(photos)], folder / f"{i:04}.jpg")
        model = tfxai.export(
            classifier.model,
            Path(room) / "model",
            {"ig": tfxai.integrated_gradients(classifier.model, steps=16)},
            inputs="bytes",
            preprocess=classifier.preprocess,
        )
        for turn in range(given.rounds):
            for workers in (1, 2):
                out = Path(room) / f"out-{turn}-{workers}"
                options = {"batch_size": given.batch, "shard_size": SHARD, "verbose": 0}
                scale.explain_dataset(model, folder, out, workers, dtype="float16", **options)
                print(f"{workers} workers: {rate(out):.2f} images/s", flush=True)


if __name__ == "__main__":
    main()
