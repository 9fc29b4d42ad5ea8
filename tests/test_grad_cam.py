"""Grad-CAM needs gradients from the score down to a layer, and no further."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.thorough import quick

L = keras.layers


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 255, (2, 10, 8, 3)).astype("uint8")


def convolutions():
    keras.utils.set_random_seed(0)
    layers = [L.Rescaling(1 / 255), L.Conv2D(4, 3, activation="relu", name="features")]
    return keras.Sequential([keras.Input((10, 8, 3)), *layers])


def logits(features):
    return L.Dense(3, kernel_initializer="ones")(L.GlobalAveragePooling2D()(features))


def classifier(convolved, dtype="float32"):
    inputs = keras.Input((10, 8, 3), dtype=dtype)
    return keras.Model(inputs, logits(convolved(inputs)))


def first_logit(outputs, targets):
    logits = outputs["class"] if isinstance(outputs, dict) else outputs[0]
    return tf.gather(logits, targets, axis=1, batch_dims=1)


@pytest.mark.parametrize("structure", ["list", "dict"])
def test_a_score_of_one_of_several_outputs_finds_the_activations_that_it_is_of(images, structure):
    inputs = keras.Input((10, 8, 3))
    x = convolutions()(inputs)
    classes = logits(x)
    mask = L.Conv2D(1, 3, activation="sigmoid", name="mask")(x)  # later, and of another output
    model = keras.Model(inputs, classes)
    outputs = [classes, mask] if structure == "list" else {"class": classes, "a mask": mask}
    several = keras.Model(inputs, outputs)
    expected = tfxai.grad_cam(model)(images, [0, 2]).numpy()
    assert expected.any((1, 2, 3)).all()
    found = tfxai.grad_cam(several, score=first_logit)(images, [0, 2])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    named = tfxai.grad_cam(several, layer="features", score=first_logit)(images, [0, 2])
    np.testing.assert_allclose(named, expected, rtol=1e-5)


def test_models_of_integers_have_the_map_of_those_of_floats(images):
    features = convolutions()
    expected = tfxai.grad_cam(classifier(features))(images, 1)
    found = tfxai.grad_cam(classifier(features, "uint8"))(images, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    guided = tfxai.guided_grad_cam(classifier(features))(images, 1)
    found = tfxai.guided_grad_cam(classifier(features, "uint8"))(images, 1)
    np.testing.assert_allclose(found, guided, rtol=1e-5, atol=1e-9)


def test_tokens_have_a_map_of_their_positions():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((7,), dtype="int32")
    x = L.Conv1D(3, 3, padding="same", activation="relu")(L.Embedding(20, 4)(inputs))
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling1D()(x)))
    tokens = np.random.default_rng(0).integers(0, 20, (2, 7))
    assert tfxai.grad_cam(model, upsample=None)(tokens, 0).shape == (2, 7, 1)
    maps = tfxai.grad_cam(model)(tokens, 0)
    np.testing.assert_array_equal(maps, tfxai.grad_cam(model, upsample=None)(tokens, 0)[..., 0])


def test_a_model_without_positions_is_told_so(images):
    model = keras.Sequential([keras.Input((10, 8, 3)), L.Flatten(), L.Dense(3)])
    with pytest.raises(ValueError, match="no activations with positions, that is of three axes"):
        tfxai.grad_cam(model)(images, 0)


RECURRENT = {
    "sequences": ([keras.layers.GRU(4, return_sequences=True, name="seen")], "seen"),
    "a convolution before": (
        [keras.layers.Conv1D(3, 2, padding="same", name="seen"), keras.layers.LSTM(4)],
        "seen",
    ),
    "two": (
        [keras.layers.LSTM(3, return_sequences=True, name="seen"), keras.layers.LSTM(4)],
        "seen",
    ),
    "both directions": (
        [keras.layers.Bidirectional(keras.layers.GRU(4, return_sequences=True), name="seen")],
        "seen",
    ),
    "two in both directions": (
        [
            keras.layers.Bidirectional(keras.layers.LSTM(3, return_sequences=True), name="seen"),
            keras.layers.Bidirectional(keras.layers.GRU(4)),
        ],
        "seen",
    ),
}


@pytest.mark.filterwarnings("ignore:.*zero everywhere")
@pytest.mark.parametrize(
    "kind",
    quick(RECURRENT, "sequences", "a convolution before", "both directions"),
)
def test_the_last_activation_of_a_recurrent_network_has_the_batch_first(kind):
    """As many examples as time steps: nothing but the numbers shows that they are exchanged."""
    layers, name = RECURRENT[kind]
    keras.utils.set_random_seed(0)
    pooled = kind in ("sequences", "both directions")
    pooling = [keras.layers.GlobalAveragePooling1D()] if pooled else []
    model = keras.Sequential([keras.Input((6, 2)), *layers, *pooling, keras.layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(6, 6, 2))
    found = tfxai.grad_cam(model).explain(x, 0, verbose=0).attributions
    expected = tfxai.grad_cam(model, layer=name).explain(x, 0, verbose=0).attributions
    assert expected.any()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
    assert tfxai.grad_cam(model)(x[:3], 0).shape == (3, 6, 1)


@pytest.mark.filterwarnings("ignore:.*zero everywhere")
@pytest.mark.parametrize("padding", ["causal", "same", "valid"])
def test_dilated_convolutions_keep_the_order_of_their_steps(padding):
    """TensorFlow puts the steps of a dilated convolution into the batch, and back."""
    keras.utils.set_random_seed(3)
    convolutions = [
        L.Conv1D(5, 2, dilation_rate=rate, padding=padding, activation="tanh", name=f"rate_{rate}")
        for rate in (1, 2, 4)
    ]
    inputs = x = keras.Input((12, 3))
    for layer in (*convolutions, L.GlobalAveragePooling1D(), L.Dense(2)):
        x = layer(x)
    model = keras.Model(inputs, x)
    x = np.random.default_rng(1).normal(size=(4, 12, 3)) * np.linspace(3, 0.2, 12)[:, None]
    head = keras.Model(model.get_layer("rate_4").output, model.output)
    body = keras.Model(model.inputs, model.get_layer("rate_4").output)
    with tf.GradientTape() as tape:
        activations = body(x)
        tape.watch(activations)
        score = head(activations)[:, 0]
    alpha = tf.reduce_mean(tape.gradient(score, activations), 1, keepdims=True)
    expected = tf.nn.relu(tf.reduce_sum(alpha * activations, -1))
    assert np.ptp(expected, axis=1).any()
    found = tfxai.grad_cam(model, upsample=None)(x, 0)
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-6)
    assert tfxai.grad_cam(model)(x, 0).shape == (4, 12, 1)


@pytest.mark.parametrize(
    ("layer", "behind"), [("first", 2), ("second", 1), ("third", 0), (None, 0)]
)
def test_the_backward_pass_ends_at_the_layer(layer, behind):
    """The graph has the gradients of the convolutions behind the layer, and no others."""
    names = ("first", "second", "third")
    convolved = keras.Sequential(
        [keras.Input((10, 8, 3)), *(L.Conv2D(4, 3, activation="relu", name=n) for n in names)]
    )
    method = tfxai.grad_cam(classifier(convolved), layer=layer)
    specs = [tf.TensorSpec([None, 10, 8, 3]), tf.TensorSpec([None], tf.int32)]
    attribution = tf.function(method.method.build(8)).get_concrete_function(
        *specs, tf.TensorSpec([2], tf.int32)
    )
    types = [operation.type for operation in computed(attribution.graph)]
    assert types.count("Conv2D") == 3
    assert types.count("Conv2DBackpropInput") == behind
    assert types.count("ReluGrad") == behind
    assert "Conv2DBackpropFilter" not in types


def computed(graph):
    """The operations on which the results of a graph depend, those of called functions too."""
    waiting, found = [t.op for t in graph.outputs], {}
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting += [t.op for t in operation.inputs] + list(operation.control_inputs)
    operations = list(found.values())
    for call in [o for o in operations if o.type in ("PartitionedCall", "StatefulPartitionedCall")]:
        operations += computed(graph._get_function(call.get_attr("f").name).graph)
    return operations
