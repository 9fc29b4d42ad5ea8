"""Small networks that the tests share; random but fixed weights. What asks or changes them, too."""

import keras
import numpy as np
import tensorflow as tf

import tfxai

L = keras.layers


def small_cnn(head="softmax", activation="relu", policy="float32"):
    """A convolutional classifier of 8x8x3 images into 5 classes."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3), dtype="float64" if policy == "float64" else "float32")
    x = L.Conv2D(4, 3, activation=activation, bias_initializer="normal", dtype=policy)(inputs)
    x = L.Flatten(dtype=policy)(x)
    x = L.Dense(12, activation=activation, bias_initializer="normal", dtype=policy)(x)
    return keras.Model(inputs, L.Dense(5, activation=head, dtype=policy)(x))


def two_inputs():
    """A regressor of an image and a row, in a dict."""
    keras.utils.set_random_seed(2)
    image, row = keras.Input((6, 6, 1), name="image"), keras.Input((4,), name="row")
    seen = L.Flatten()(L.Conv2D(2, 3, activation="relu")(image))
    joined = L.Concatenate()([seen, L.Dense(3, activation="tanh")(row)])
    return keras.Model({"image": image, "row": row}, L.Dense(3)(joined))


def pixel_model(size=(12, 16), channels=3):
    """A classifier of pixels in 0..1 into 4 classes."""
    keras.utils.set_random_seed(0)
    layers = [L.Conv2D(3, 3, activation="relu"), L.Flatten(), L.Dense(4, "softmax")]
    return keras.Sequential([keras.Input((*size, channels)), *layers])


def rescaled_cnn(size=(24, 32, 3), units=4):
    """A classifier of pixels in 0..255, which it rescales itself."""
    convolution = L.Conv2D(4, 3, activation="relu", name="conv2d")
    layers = [convolution, L.GlobalAveragePooling2D(), L.Dense(units, activation="softmax")]
    return keras.Sequential([keras.Input(size), L.Rescaling(1 / 255), *layers])


def without_biases(model):
    """Set all that shifts to 0, so that nothing excites a neuron but its inputs; give the model."""
    for weight in model.weights:
        if any(name in weight.path for name in ("bias", "beta", "moving_mean")):
            weight.assign(weight * 0)
    return model


def table_model():
    """A model of rows of five numbers, for what takes images alone."""
    return keras.Sequential([keras.Input((5,)), L.Dense(2)])


class Subclassed(keras.Model):
    """A model that declares no inputs: layers and functions, one after the other."""

    def __init__(self, *steps):
        super().__init__()
        self.steps = list(steps)

    def call(self, x):
        for step in self.steps:
            x = step(x)
        return x


def as_model(function, features):
    """A model of rows ``[B, features]`` by a function of tensors."""
    inputs = keras.Input((features,))
    return keras.Model(inputs, function(inputs))


def quadratic(matrix):
    """f(x) = x'Ax / 2, whose gradient is Ax for a symmetric A."""
    matrix = np.asarray(matrix, "float32")

    def function(x):
        return keras.ops.sum(x * keras.ops.matmul(x, matrix), -1, keepdims=True) / 2

    return as_model(function, len(matrix))


def channels_first_twin(model):
    """The same function of channels-first images; `channels_moved` makes them."""
    inputs = keras.Input((model.input_shape[-1], *model.input_shape[1:-1]))
    return keras.Model(inputs, model(L.Permute((2, 3, 1))(inputs)))


def channels_moved(images):
    """Channels-last images as channels-first."""
    return np.moveaxis(images, -1, 1)


def with_patterns(builder, count=30, **options):
    """Give a builder the patterns of the model that it is called with."""

    def build(model):
        data = np.random.default_rng(8).normal(size=(count, *model.input_shape[1:]))
        return builder(model, tfxai.fit_patterns(model, data, verbose=0), **options)

    return build


def digits():
    """Handwritten digits made here: ten glyphs, shifted and with noise; ``[N, 8, 8, 1]``."""
    random = np.random.default_rng(0)
    glyphs = (random.random((10, 6, 6)) > 0.5).astype("float32")
    labels = random.integers(0, 10, 600)
    data = random.normal(0, 0.15, (600, 8, 8, 1)).astype("float32")
    for i, label in enumerate(labels):
        dy, dx = random.integers(0, 3, 2)
        data[i, dy : dy + 6, dx : dx + 6, 0] += glyphs[label]
    return data, labels


def glyph_classifier(activation):
    """A network that is trained on `digits` (accuracy > 0.9)."""
    data, labels = digits()
    keras.utils.set_random_seed(3)
    layers = [
        L.Conv2D(8, 3, activation=activation),
        L.Flatten(),
        L.Dense(32, activation=activation),
        L.Dense(10),
    ]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    model.fit(data, labels, epochs=12, verbose=0)
    assert model.evaluate(data, labels, verbose=0)[1] > 0.9
    return model


def gradient_of(model, x, target):
    """The gradient by TensorFlow alone."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = tf.reduce_sum(model(x)[:, target])
    return tape.gradient(score, x).numpy()


def slope(model, target=2):
    """A function from one example to its gradient."""
    return lambda x: gradient_of(model, x[None], target)[0]


def trained_like(model):
    """Give a model other weights, of the size that training gives."""
    random = np.random.default_rng(7)
    model.set_weights([random.normal(0, 0.3, w.shape) for w in model.get_weights()])
