"""Export a classifier with its explanations, and use it without tfxai.

Writes EfficientNet-Lite0 with three explainers as one SavedModel that takes JPEG files, then starts
a Python process in which tfxai cannot be imported. This process predicts and explains a photo with
TensorFlow alone. The printed parity is the largest difference between the results of the SavedModel
and those of the explainers here. Needs a minute.
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

WITHOUT_TFXAI = """
import sys
sys.modules["tfxai"] = None  # importing it would raise an error
import numpy as np
import tensorflow as tf

folder, photo, out = sys.argv[1:]
loaded = tf.saved_model.load(folder)
images = tf.constant([open(photo, "rb").read()])
outputs = {}
for name, signature in loaded.signatures.items():
    options = {"targets": tf.constant([-1]), "seed": tf.constant(0)}
    answer = signature(inputs=images, **(options if name != "serving_default" else {}))
    outputs |= {f"{name}.{key}": value.numpy() for key, value in answer.items()}
np.savez(out, **outputs)
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
    parser.add_argument("--out", type=Path, help="the folder to write [default: a temporary one]")
    parser.add_argument("--photo", type=Path, default=zoo.foolbox_photos()[0][0], help="a JPEG")
    arguments = parser.parse_args()
    classifier = zoo.load("efficientnet-lite0")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary) / "served"
        exported = explainers(classifier)
        tfxai.export(
            classifier.model,
            folder,
            exported,
            inputs="bytes",
            preprocess=classifier.preprocess,
            class_names=classifier.names,
        )
        metadata = saved_model.metadata(folder)
        print(f"exported with {', '.join(metadata['explainers'])}; parity {metadata['parity']}")
        outputs_file = Path(temporary) / "outputs.npz"
        command = [sys.executable, "-c", WITHOUT_TFXAI, folder, arguments.photo, outputs_file]
        subprocess.run([str(part) for part in command], check=True)
        outputs = dict(np.load(outputs_file))
    best = outputs["serving_default.outputs"][0].argmax()
    print(f"{arguments.photo.name}: {metadata['class_names'][best]}")
    for name in exported:
        maps = outputs[f"explain_{name}.attributions"]
        keys = [k.split(".")[1] for k in outputs if k.startswith(f"explain_{name}.")]
        print(f"{name}: attributions {maps.shape}, largest {np.abs(maps).max():.3g}; "
              f"also {', '.join(key for key in keys if key != 'attributions')}")  # fmt: skip


if __name__ == "__main__":
    main()
