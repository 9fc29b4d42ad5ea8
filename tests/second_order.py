"""Gradients and whole Hessians of the cross-entropy, and a network that has both."""

import keras
import numpy as np
import tensorflow as tf

import tfxai
from tfxai import hessian

L = keras.layers


def rich_net(activation):
    """Convolution, max pooling, a skip and two dense layers, in float64."""
    keras.utils.set_random_seed(4)
    hidden = {"dtype": "float64", "activation": activation, "bias_initializer": "normal"}
    inputs = keras.Input((6, 6, 2), dtype="float64")
    x = L.Conv2D(3, 3, padding="same", **hidden)(inputs)
    x = L.Add(dtype="float64")([x, L.Conv2D(3, 1, dtype="float64")(inputs)])
    x = L.Flatten(dtype="float64")(L.MaxPooling2D(dtype="float64")(x))
    x = L.Dense(12, **hidden)(x)
    return keras.Model(inputs, L.Dense(5, "softmax", dtype="float64")(x))


def loss_gradient(model, x, targets):
    """By TensorFlow's own cross-entropy of the model's probabilities."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(
            keras.losses.sparse_categorical_crossentropy(np.array(targets), model(x))
        )
    return tape.gradient(loss, x).numpy()


def dense(model, x, targets):
    """The whole Hessian of each example, ``[B, F, F]``."""
    count, features = len(x), x[0].size
    units = np.eye(features).reshape(features, 1, *x.shape[1:]).repeat(count, 1)
    rows = hessian.hvp(model, x, units, targets)
    return rows.reshape(features, count, features).transpose(1, 0, 2)


def jacobian(model, x):
    """W of each example, ``[B, F, C]``, and p ``[B, C]``."""
    x = tf.convert_to_tensor(x)
    logits = tfxai.logits(model)
    with tf.GradientTape() as tape:
        tape.watch(x)
        z = logits(x)
    w = tape.batch_jacobian(z, x).numpy().reshape(len(x), z.shape[1], -1)
    return w.transpose(0, 2, 1), tf.nn.softmax(z).numpy()
