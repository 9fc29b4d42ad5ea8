"""The networks of the race, in Keras; as a script, writes one for `torch_network` to read."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import works

SIDE, PATCH, WIDTH, HEADS, DEPTH = 224, 16, 192, 3, 12


class AddPositions(keras.layers.Layer):
    """Add a learned vector to each position of a sequence."""

    def build(self, shape):
        """Create the vectors."""
        self.positions = self.add_weight(
            shape=shape[1:], initializer=keras.initializers.RandomNormal(stddev=0.02)
        )

    def call(self, x):
        """Add them."""
        return x + self.positions


def build(name, *, softmax=True):
    """Give a network by its name, with probabilities or, without `softmax`, logits as outputs."""
    if name == "efficientnet-lite0":
        from tfxai import zoo

        model = zoo.load(name).model
        return model if softmax else keras.Model(model.input, model.get_layer("logits").output)
    keras.utils.set_random_seed(0)
    activation = "softmax" if softmax else None
    if name == "ViT":
        return vision_transformer(activation)
    return getattr(keras.applications, name)(weights=None, classifier_activation=activation)


def gradient_function(model):
    """Give the gradient of the target's output as a tf.function of images, for any batch size."""

    @tf.function(reduce_retracing=True)
    def gradient(x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            score = model(x, training=False)[:, works.TARGET]
        return tape.gradient(score, x)

    return gradient


def vision_transformer(activation):
    """Give ViT-Tiny of 16 x 16 patches, with the mean of all positions before the classes."""
    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(WIDTH, PATCH, PATCH, name="patches")(image)
    x = AddPositions(name="positions")(layers.Reshape((-1, WIDTH), name="sequence")(x))
    for k in range(DEPTH):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm{k}a")(x)
        y = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name=f"attention{k}")(y, y)
        x = layers.Add(name=f"add{k}a")([x, y])
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm{k}b")(x)
        y = layers.Dense(4 * WIDTH, activation="gelu", name=f"up{k}")(y)
        y = layers.Dense(WIDTH, name=f"down{k}")(y)
        x = layers.Add(name=f"add{k}b")([x, y])
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    outputs = layers.Dense(1000, activation=activation, name="predictions")(x)
    return keras.Model(image, outputs, name="ViT")


def write(model, name, folder):
    """Write the layers, what goes into each, and its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        f"{layer.name}/{k}": np.array(value)
        for layer in model.layers
        for k, value in enumerate(layer.get_weights())
    }
    np.savez(folder / f"{name}.npz", **weights)
    (folder / f"{name}.json").write_text(json.dumps(model.get_config()["layers"]))


if __name__ == "__main__":
    write(build(sys.argv[1], softmax=False), sys.argv[1], Path(sys.argv[2]))
