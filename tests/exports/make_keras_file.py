"""Write tests/onnx_files/keras_net.onnx, as Keras exports it; needs tf2onnx.

python tests/exports/make_keras_file.py
"""

from pathlib import Path

import keras
import numpy as np

L = keras.layers


def net():
    """Give a classifier with what Keras's exports have of their own: images stay channels-last."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((20, 18, 3))
    x = L.Rescaling(1 / 127.5, -1)(inputs)
    x = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    normalised = L.BatchNormalization()
    x = L.ReLU(6.0)(normalised(x))
    y = L.Activation("swish")(L.DepthwiseConv2D(3, padding="same")(x))
    gate = L.Conv2D(8, 1, activation="sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(y))
    x = L.Add()([x, L.Multiply()([y, gate])])
    x = L.MaxPooling2D(3, 2, padding="same")(x)
    x = L.AveragePooling2D(2, padding="same")(x)
    x = L.Flatten()(L.Concatenate()([x, x]))
    x = L.Dense(12, activation="relu")(x)
    normalised.set_weights([w + 0.3 * (i + 1) for i, w in enumerate(normalised.get_weights())])
    return keras.Model(inputs, L.Dense(5, activation="softmax")(x))


if __name__ == "__main__":
    model = net()
    model.predict(np.zeros((1, 20, 18, 3)), verbose=0)
    path = Path(__file__).parents[1] / "onnx_files" / "keras_net.onnx"
    model.export(path, format="onnx")
