"""Heads are found and bypassed however they are written; models are measured by one trace."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.networks import Subclassed, gradient_of, small_cnn
from tests.thorough import quick
from tfxai import scores
from tfxai.models import keras_graph
from tfxai.models.model_info import trace_info

L = keras.layers


def heads(body, head):
    """The same classifier with its head written in several ways."""
    dense = body.layers[-1]
    fused = L.Dense(dense.units, activation=head)
    fused.build(dense.input.shape)
    fused.set_weights(dense.get_weights())
    before = keras.Model(body.inputs, dense.input)
    functions = {"softmax": keras.ops.softmax, "sigmoid": keras.ops.sigmoid}

    def behind(*steps):
        inputs = x = keras.Input(body.input_shape[1:])
        for step in (body, *steps):
            x = step(x)
        return keras.Model(inputs, x)

    half = L.Activation(head, dtype="float16")
    inputs = keras.Input(body.input_shape[1:])
    return {
        "fused": keras.Model(inputs, fused(before(inputs))),
        "activation layer": behind(L.Activation(head)),
        "operation": behind(functions[head]),
        "nested twice": keras.Sequential(
            [keras.Input(body.input_shape[1:]), behind(functions[head])]
        ),
        "reshaped": behind(L.Activation(head), L.Reshape((-1,))),
        "squeezed": behind(
            functions[head],
            lambda p: keras.ops.expand_dims(p, -1),
            lambda p: keras.ops.squeeze(p, -1),
        ),
        "stacked, transposed, sliced": behind(
            L.RepeatVector(3), L.TimeDistributed(L.Activation(head)), lambda p: p[:, -1]
        ),
        "half": behind(half),
        "half, cast": behind(half, L.Activation("linear", dtype="float32")),
        "subclassed": Subclassed(body, L.Activation(head)),
    }


WAYS = [
    *("fused", "activation layer", "operation", "nested twice", "reshaped", "squeezed"),
    *("stacked, transposed, sliced", "subclassed"),
]


@pytest.mark.parametrize(
    ("head", "way"),
    quick(
        [(head, way) for head in ("softmax", "sigmoid") for way in WAYS],
        *(("softmax", way) for way in WAYS),
        *(("sigmoid", "fused"), ("sigmoid", "operation")),
    ),
)
def test_a_head_is_bypassed_however_it_is_written(way, head, images):
    body = small_cnn(head=None)
    model = heads(body, head)[way]
    record = tfxai.gradient(model).explain(images, 2, verbose=0)
    assert record.head == head
    np.testing.assert_allclose(record.attributions, gradient_of(body, images, 2), rtol=1e-5)
    np.testing.assert_allclose(record.scores, body(images)[:, 2], rtol=1e-5)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_the_head_of_a_layer_that_is_distributed_over_time(head):
    """Keras stacks its steps and transposes them. (Of any number of steps its graph is wrong.)"""
    keras.utils.set_random_seed(1)
    steps, dense = L.GRU(4, return_sequences=True), L.Dense(3)
    inputs = keras.Input((5, 2))
    logits = keras.Model(inputs, L.TimeDistributed(dense)(steps(inputs)))
    squashed = L.TimeDistributed(L.Activation(head))(logits.outputs[0])
    x = np.random.default_rng(2).normal(size=(3, 5, 2)) * [[[1.0]], [[0.2]], [[3.0]]]
    for score in (scores.position(3), scores.region([0, 1, 0, 0, 1])):
        record = tfxai.gradient(keras.Model(inputs, squashed), score=score).explain(
            x, [2, 0, 1], verbose=0
        )
        assert record.head == head
        expected = tfxai.gradient(logits, score=score)(x, [2, 0, 1])
        np.testing.assert_allclose(record.attributions, expected, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p[:, ::-1],
        lambda p: keras.ops.transpose(keras.ops.stack([p, p], 1), (0, 2, 1))[:, :, 0],
        lambda p: keras.ops.stack([p, p, p, p, p], -1)[:, 1],
        lambda p: p[:, :3],
    ],
)
def test_what_moves_the_classes_behind_a_head_hides_it(change):
    """Then the last axis is no longer that of the classes, or has others."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, change(L.Dense(5, activation="softmax")(inputs)))
    assert not any(tf.nest.flatten(trace_info(model, keras_graph.declared_inputs(model)).heads))


@pytest.mark.parametrize("way", ["half", "half, cast"])
def test_a_half_precision_head_is_bypassed(way, images):
    body = small_cnn(head=None)
    record = tfxai.gradient(heads(body, "softmax")[way]).explain(images, 2, verbose=0)
    assert record.head == "softmax"
    np.testing.assert_allclose(record.attributions, gradient_of(body, images, 2), atol=2e-3)


def test_logits_gives_a_model_that_shares_the_variables(cnn, images):
    logits = tfxai.logits(cnn)
    np.testing.assert_allclose(tf.nn.softmax(logits(images)), cnn(images), rtol=1e-5)
    cnn.layers[-1].bias.assign_add([100.0, 0, 0, 0, 0])
    assert (logits.predict(images, verbose=0).argmax(1) == 0).all()


def test_logits_survive_saving(cnn, images, tmp_path):
    logits = tfxai.logits(cnn)
    expected = logits(images)
    logits.save(tmp_path / "logits.keras")
    loaded = keras.saving.load_model(tmp_path / "logits.keras")
    np.testing.assert_array_equal(loaded(images), expected)


def test_logits_of_a_model_without_a_head_are_the_model():
    model = small_cnn(head=None)
    assert tfxai.logits(model) is model


def test_a_sigmoid_head_of_several_units_is_so_many_binary_classifiers(images):
    model = small_cnn(head="sigmoid")
    record = tfxai.gradient(model, score=scores.probability).explain(images, 3, verbose=0)
    np.testing.assert_allclose(record.scores, model(images)[:, 3], rtol=1e-5)
    np.testing.assert_allclose(record.attributions, gradient_of(model, images, 3), rtol=1e-3)


def test_the_probability_of_a_softmax_model_is_its_output(cnn, images):
    record = tfxai.gradient(cnn, score=scores.probability).explain(images, 3, verbose=0)
    np.testing.assert_allclose(record.scores, cnn(images)[:, 3], rtol=1e-5)


def test_a_score_of_ones_own_sees_the_outputs_as_they_stand(cnn, images):
    def squared(outputs, targets):
        return tf.gather(outputs, targets, batch_dims=1) ** 2

    record = tfxai.gradient(cnn, score=squared).explain(images, 3, verbose=0)
    assert record.head is None
    np.testing.assert_allclose(record.scores, cnn(images).numpy()[:, 3] ** 2, rtol=1e-5)


def test_a_score_may_read_a_map_of_classes(images):
    model = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(4, 3, activation="softmax")])
    explainer = tfxai.gradient(model, score=lambda outputs, targets: outputs[:, 2, 2, 1])
    maps = explainer(images, 0).numpy()
    assert maps[:, 2:5, 2:5].any()
    maps[:, 2:5, 2:5] = 0
    assert not maps.any()
    with pytest.raises(ValueError, match=r"targets=None.*pass targets"):
        explainer(images)


@pytest.mark.parametrize("head", ["sigmoid", None])
def test_a_one_unit_head_explains_1_as_plus_and_0_as_minus(head):
    model = keras.Sequential([keras.Input((2,)), L.Dense(1, activation=head)])
    model.set_weights([np.array([[2.0], [3.0]]), np.zeros(1)])
    explainer = tfxai.gradient(model)
    x = np.array([[1.0, 1.0], [-1.0, -1.0]])
    np.testing.assert_allclose(explainer(x, 1), [[2, 3], [2, 3]], rtol=1e-6)
    np.testing.assert_allclose(explainer(x, 0), [[-2, -3], [-2, -3]], rtol=1e-6)
    predicted = [[2, 3], [-2, -3]] if head else [[2, 3], [2, 3]]
    np.testing.assert_allclose(explainer(x), predicted, rtol=1e-6)


def test_probabilities_without_a_head_to_bypass_raise_with_the_remedy():
    def handmade(x):
        return keras.ops.exp(x) / keras.ops.sum(keras.ops.exp(x), -1, keepdims=True)

    inputs = keras.Input((3,))
    model = keras.Model(inputs, handmade(L.Dense(4)(inputs)))
    with pytest.raises(ValueError, match=r"no softmax operation was found.*score="):
        tfxai.gradient(model)(np.ones((2, 3)))


def test_several_outputs_raise_with_the_remedy(cnn, images):
    model = keras.Model(cnn.inputs, {"a": cnn.outputs[0], "b": cnn.layers[1].output})
    with pytest.raises(ValueError, match=r"several outputs.*model\.outputs\[i\]"):
        tfxai.gradient(model)(images, 0)


def test_eager_functions_make_no_difference(cnn, images):
    subclassed = Subclassed(cnn)
    expected = [tfxai.gradient(model)(images) for model in (cnn, subclassed)]
    tf.config.run_functions_eagerly(True)
    try:
        for model, maps in zip((cnn, subclassed), expected, strict=True):
            np.testing.assert_array_equal(tfxai.gradient(model)(images), maps)
    finally:
        tf.config.run_functions_eagerly(False)


def test_the_size_of_a_row_counts_every_intermediate_result():
    model = keras.Sequential([keras.Input((100,)), L.Dense(50, use_bias=False), L.ReLU()])
    info = trace_info(model, keras_graph.declared_inputs(model))
    assert info.units == 50
    assert 2 * 50 * 4 <= info.bytes_per_row <= 3 * 100 * 4


def test_the_model_is_not_changed(cnn, images):
    before = [w.numpy().copy() for w in cnn.weights]
    nodes = [len(layer._inbound_nodes) for layer in cnn.layers]
    tfxai.integrated_gradients(cnn, steps=5).explain(images, verbose=0)
    for w, b in zip(cnn.weights, before, strict=True):
        np.testing.assert_array_equal(w.numpy(), b)
    assert nodes == [len(layer._inbound_nodes) for layer in cnn.layers]


def test_an_explainer_follows_further_training(cnn, images):
    explainer = tfxai.gradient(cnn)
    before = explainer(images, 0).numpy()
    cnn.layers[-1].kernel.assign(cnn.layers[-1].kernel * 2)
    np.testing.assert_allclose(explainer(images, 0), 2 * before, rtol=1e-5)
