"""A network of the matrix: how it is built, its weights, and examples for it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

CALIBRATION = 16
"""Examples from which batch normalisations take their means and variances."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, and what is known of it that a method is not told."""

    build: Callable[[bool], keras.Model]
    """Makes the model under the present policy; True with softmax or sigmoid, False for logits."""
    shapes: Any
    """The shape of one example, or a dict or list of shapes."""
    family: str = "images"
    policy: str = "float32"
    score: Callable | None = None
    """(outputs, targets) -> [B], where the logit of a class is no score of the model."""
    finish: Callable[[keras.Model], None] | None = None
    """Changes the model after its weights are set, as quantisation does."""
    scale: tuple[float, float] = (0.0, 1.0)
    """Mean and size of the inputs: (128, 60) for pixels."""
    vocabulary: int | None = None
    """The number of tokens, where the inputs are token ids."""
    tolerance: float = 2e-3
    """The largest relative L2 error of a map that is not called wrong: rounding of the policy."""
    undefined: dict[str, str] = dataclasses.field(default_factory=dict)
    """Methods that cannot be defined for the network -> why."""
    exact: bool = True
    """Whether the float64 twin computes the same function; no quantised model has such a twin."""
    targets: tuple[int, ...] = (1, 0, 2, 1, 0)
    channels: int = -1
    """The axis of the channels of one example."""

    def examples(self, count=5, seed=0):
        """Examples that differ in size, from faint to strong, in the structure of the inputs."""
        random = np.random.default_rng(seed)
        strength = np.linspace(0.4, 1.5, count)

        def draw(shape):
            if self.vocabulary:
                return random.integers(1, self.vocabulary, (count, *shape)).astype("int32")
            noise = random.normal(size=(count, *shape)) * strength.reshape(-1, *[1] * len(shape))
            mean, size = self.scale
            return (mean + size * noise).astype(
                "float64" if self.policy == "float64" else "float32"
            )

        if isinstance(self.shapes, dict):
            return {name: draw(shape) for name, shape in self.shapes.items()}
        if isinstance(self.shapes, list):
            return [draw(shape) for shape in self.shapes]
        return draw(self.shapes)

    def positions(self, shape):
        """Give the sizes of the positions of one input; a table's features are positions."""
        if len(shape) == 1:
            return tuple(shape)
        return tuple(np.delete(shape, self.channels).tolist())

    def by_name(self, function):
        """Give an option for each input by an example's array: alone for one, else by name."""
        example = self.examples(1)
        if isinstance(example, list):
            inputs = self.build(False).inputs
            example = {i.name: x for i, x in zip(inputs, example, strict=True)}
        return tf.nest.map_structure(lambda x: function(x[0]), example)

    def model(self):
        """Give the model, whose outputs differ between examples."""
        with_policy(self.policy)
        keras.utils.set_random_seed(3)
        model = self.build(True)
        examples = self.examples(CALIBRATION, seed=1)
        randomise(model, examples)
        if self.score is None:
            logits = self.build(False)
            call(logits, examples)
            logits.set_weights(model.get_weights())
            standardise(model, np.asarray(call(logits, examples), "float64"))
        return model

    def twin(self, model):
        """Give the same function in float64; where logits are explained, with logits as outputs."""
        with_policy("float64")
        twin = self.build(self.score is not None)
        call(twin, self.examples(1))
        twin.set_weights([w.astype("float64") for w in model.get_weights()])
        with_policy(self.policy)
        return twin


def with_policy(policy):
    keras.config.set_floatx("float64" if policy == "float64" else "float32")
    keras.config.set_dtype_policy(policy)


def call(model, examples, training=False):
    """Give the outputs for numpy examples."""
    return model(tf.nest.map_structure(tf.convert_to_tensor, examples), training=training)


def randomise(model, examples):
    """Give a model weights like those of a trained one: no biases of 0, no statistics of 0 and 1.

    Batch normalisations get the statistics of the examples, each changed a little, so that the
    signal neither dies nor explodes on its way.
    """
    call(model, examples)
    random = np.random.default_rng(5)
    for weight in model.weights:
        name, shape = weight.path.split("/")[-1], weight.shape
        if name in ("bias", "beta") and "float" in str(weight.dtype):
            weight.assign(weight + random.normal(0, 0.1, shape))
        elif name in ("gamma", "scale", "layer_scale"):
            weight.assign(random.uniform(0.5, 1.5, shape))
    normalisations = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    momenta = [layer.momentum for layer in normalisations]
    for layer in normalisations:
        layer.momentum = 0.0
    if normalisations:
        call(model, examples, training=True)
    for layer, momentum in zip(normalisations, momenta, strict=True):
        layer.momentum = momentum
        shape = layer.moving_variance.shape
        layer.moving_variance.assign(layer.moving_variance * random.uniform(0.8, 1.25, shape))


def standardise(model, logits):
    """Give each class's logit the mean 0 and the size 1, by the weights of the last dense layer.

    Where there is none, the last convolution gives the logits, as in some of keras.applications.
    """
    layers = list(model._flatten_layers())
    dense = [layer for layer in layers if isinstance(layer, keras.layers.Dense)]
    last = (dense or [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)])[-1]
    size = logits.std(0) + 1e-6
    last.kernel.assign(last.kernel / size)
    last.bias.assign((last.bias - logits.mean(0)) / size)
