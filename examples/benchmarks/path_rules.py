"""Map error and completeness gap against the number of gradients, for each way to place them.

Networks: EfficientNet-Lite0 on four photos, and small trained ones: ReLU and smooth, on digits
and on table rows (these need scikit-learn). The truth is the midpoint rule with many nodes.
Prints a Markdown table: mean relative L2 error of the map / mean completeness gap.
"""

import keras
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from zoo_photos import photos

import tfxai
from tfxai import quadrature, zoo

STEPS = (13, 25, 51, 81, 129)
PHOTOS = (0, 5, 10, 15)
RULES = {
    "adaptive": "adaptive",
    "Gauss-Legendre": quadrature.gauss_legendre,
    "midpoint": quadrature.midpoint,
    "midpoint in u, alpha = u^2": quadrature.squared_midpoint,
    "right Riemann": quadrature.right_riemann,
}


def lite0():
    classifier = zoo.load("efficientnet-lite0")
    return classifier.model, photos(classifier, PHOTOS)


def digits(activation):
    x, y = load_digits(return_X_y=True)
    x = (x / 16).reshape(-1, 8, 8, 1).astype("float32")
    layers = [
        keras.layers.Conv2D(16, 3, activation=activation),
        keras.layers.Conv2D(32, 3, strides=2, activation=activation),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation=activation),
    ]
    return trained(x, y, layers), x[:6]


def table(activation):
    x, y = load_breast_cancer(return_X_y=True)
    x = ((x - x.mean(0)) / x.std(0)).astype("float32")
    layers = [keras.layers.Dense(64, activation=activation) for _ in range(2)]
    return trained(x, y, layers), x[:6]


def trained(x, y, layers):
    keras.utils.set_random_seed(0)
    outputs = keras.layers.Dense(int(y.max()) + 1, activation="softmax")
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers, outputs])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=15, verbose=0)
    return model


def compare(name, model, x, truth_steps):
    options = {"steps": truth_steps, "quadrature": quadrature.midpoint}
    truth = tfxai.integrated_gradients(model, **options).explain(x, verbose=0).attributions
    truth = truth.reshape(len(x), -1)
    print(f"\n**{name}**\n\n| rule | " + " | ".join(map(str, STEPS)) + " |")
    print("|---" * (1 + len(STEPS)) + "|")
    for title, rule in RULES.items():
        cells = []
        for steps in STEPS:
            explainer = tfxai.integrated_gradients(model, steps=steps, quadrature=rule)
            record = explainer.explain(x, verbose=0)
            maps = record.attributions.reshape(len(x), -1)
            error = np.linalg.norm(maps - truth, axis=1) / np.linalg.norm(truth, axis=1)
            gap = record.diagnostics["completeness_gap"].mean()
            cells.append(f"{error.mean():.2g} / {gap:.2g}")
        print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


def main():
    print("Mean map error / completeness gap by number of gradients")
    compare("EfficientNet-Lite0", *lite0(), 2187)
    for activation in ("relu", "gelu", "tanh"):
        compare(f"digits, {activation}", *digits(activation), 4000)
        compare(f"table rows, {activation}", *table(activation), 4000)


if __name__ == "__main__":
    main()
