"""Small models whose outputs are not one row of classes; random but fixed weights."""

import keras
import numpy as np

L = keras.layers


def images(count=4, seed=0):
    """Examples that differ in size, too: from dark and faint to bright and strong."""
    random = np.random.default_rng(seed).normal(size=(count, 8, 6, 3))
    scale = np.linspace(0.3, 1.5, count)[:, None, None, None]
    return (random * scale + np.linspace(-1, 1, count)[:, None, None, None]).astype("float32")


def two_headed(policy="float32", form=dict, head="softmax"):
    """A segmenter that also classifies; its outputs are out of alphabetical order."""
    keras.utils.set_random_seed(5)
    kind = "float64" if policy == "float64" else "float32"
    inputs = keras.Input((8, 6, 3), dtype=kind)
    x = L.Conv2D(6, 3, padding="same", activation="relu", dtype=policy)(inputs)
    mask = L.Conv2D(4, 1, activation=head, bias_initializer="normal", dtype=policy)(x)
    label = L.Dense(5, activation="softmax", dtype=policy)(L.Flatten(dtype=policy)(x))
    boxes = L.Dense(4, dtype=policy)(L.Reshape((12, 24), dtype=policy)(x))
    if form is dict:
        outputs = {"mask": mask, "label": label, "boxes": boxes}
    elif form is list:
        outputs = [mask, label, boxes]
    else:
        outputs = {"seen": [mask, {"label": label}], "boxes": boxes}
    return keras.Model(inputs, outputs)


def segmenter(head="softmax", policy="float32", form=dict):
    """The part of `two_headed` that segments."""
    model = two_headed(policy, form, head)
    return keras.Model(model.inputs, model.output["mask"])


def tagger(recurrent=False):
    """A classifier of each time step by it and those before, of any number, into 3 classes."""
    keras.utils.set_random_seed(6)
    inputs = keras.Input((None, 4))
    layer = L.GRU(5, return_sequences=True) if recurrent else L.Conv1D(5, 2, padding="causal")
    x = layer(inputs)
    return keras.Model(inputs, L.Dense(3, activation="softmax", bias_initializer="normal")(x))
