"""Export a classifier with its explanations, and use it where tfxai is not.

Writes EfficientNet-Lite0 with three explainers as one SavedModel that takes JPEG files, then starts
another Python in which tfxai cannot be imported. That one predicts and explains a photo with
TensorFlow alone, and its numbers are compared with those of the explainers here. Needs a minute.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import tfxai
from tfxai import zoo
from tfxai.serving import saved_model

ELSEWHERE = """
import sys
sys.modules["tfxai"] = None  # importing it would raise an error
import numpy as np
import tensorflow as tf

folder, photo, out = sys.argv[1:]
loaded = tf.saved_model.load(folder)
images = tf.constant([open(photo, "rb").read()])
found = {}
for name, signature in loaded.signatures.items():
    asked = {"targets": tf.constant([-1]), "seed": tf.constant(0)}
    answer = signature(inputs=images, **(asked if name != "serving_default" else {}))
    found |= {f"{name}.{key}": value.numpy() for key, value in answer.items()}
np.savez(out, **found)
"""


def explainers(classifier):
    model = classifier.model
    return {
        "ig": tfxai.integrated_gradients(model, steps=32),
        "adaptgrad": tfxai.adaptgrad(model, bounds=classifier.bounds, samples=10),
        "grad_cam": tfxai.grad_cam(model),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder to write [one that is deleted again]")
    parser.add_argument("--photo", type=Path, default=zoo.foolbox_photos()[0][0], help="a JPEG")
    given = parser.parse_args()
    classifier = zoo.load("efficientnet-lite0")
    with tempfile.TemporaryDirectory() as room:
        folder = given.out or Path(room) / "served"
        exported = explainers(classifier)
        tfxai.export(
            classifier.model,
            folder,
            exported,
            inputs="bytes",
            preprocess=classifier.preprocess,
            class_names=classifier.names,
        )
        told = saved_model.metadata(folder)
        print(f"exported with {', '.join(told['explainers'])}; parity {told['parity']}")
        answers = Path(room) / "answers.npz"
        command = [sys.executable, "-c", ELSEWHERE, folder, given.photo, answers]
        subprocess.run([str(part) for part in command], check=True)
        found = dict(np.load(answers))
    best = found["serving_default.outputs"][0].argmax()
    print(f"{given.photo.name}: {told['class_names'][best]}")
    for name in exported:
        maps = found[f"explain_{name}.attributions"]
        diagnostics = [k.split(".")[1] for k in found if k.startswith(f"explain_{name}.")]
        print(f"{name}: attributions {maps.shape}, largest {np.abs(maps).max():.3g}; "
              f"also {', '.join(n for n in diagnostics if n != 'attributions')}")  # fmt: skip


if __name__ == "__main__":
    main()
