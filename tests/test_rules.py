"""Rules on single gradients: correct in every way that a network is written, or loud.

Guided backprop: Springenberg et al. 2015. Excitation backprop: Zhang et al. 2016. ConvOne:
docs/methods.md, Published values that the tests reproduce.
"""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests import reference
from tests.forms import CONV_ONE_INPUT, FORMS, conv_one
from tests.networks import as_model, gradient_of, small_cnn, trained_like
from tests.thorough import quick

L = keras.layers
ops = keras.ops
BUILDERS = {
    "guided_backprop": tfxai.guided_backprop,
    "deconvnet": tfxai.deconvnet,
    "excitation_backprop": tfxai.excitation_backprop,
}


@functools.cache
def conv_one_of(form):
    return conv_one(form)


# ConvOne (docs/methods.md, Published values that the tests reproduce)

GUIDED = [[0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]]
DECONVNET = [[2, 3, 3, 1], [3, 5, 5, 2], [3, 5, 5, 2], [1, 2, 2, 1]]
CAM_AT_RELU = [[0, 4], [28, 32.5]]
CAM_AT_CONVOLUTION = [[11.25, 13.5], [20.25, 22.5]]
GUIDED_CAM = [[0, 0, 4, 4], [0, 0, 12, 8], [28, 84, 97.5, 65], [28, 56, 65, 32.5]]


PUBLISHED = {
    "guided": (tfxai.guided_backprop, GUIDED),
    "deconvnet": (tfxai.deconvnet, DECONVNET),
    "cam at ReLU": (lambda m: tfxai.grad_cam(m, upsample=None), CAM_AT_RELU),
    "cam at convolution": (
        lambda m: tfxai.grad_cam(m, layer="conv", upsample=None),
        CAM_AT_CONVOLUTION,
    ),
    "guided cam": (lambda m: tfxai.guided_grad_cam(m, upsample="nearest"), GUIDED_CAM),
}


@pytest.mark.parametrize(
    ("name", "form"),
    quick(
        list(itertools.product(PUBLISHED, FORMS)),
        *(("guided", form) for form in FORMS),
        *((name, "activation argument") for name in PUBLISHED if name != "guided"),
        *(("cam at convolution", "nested"), ("cam at ReLU", "subclassed")),
    ),
)
def test_conv_one_gives_the_published_values(name, form):
    builder, expected = PUBLISHED[name]
    if (name, form) == ("cam at convolution", "activation argument"):
        expected = CAM_AT_RELU  # the layer's output is that of its activation
    record = builder(conv_one_of(form)).explain(CONV_ONE_INPUT, 0, verbose=0)
    np.testing.assert_array_equal(record.attributions[0, ..., 0], expected)
    assert record.scores[0] == 54


@pytest.mark.parametrize("form", quick(FORMS, "activation argument", "keras.ops.relu", "nested"))
def test_excitation_of_conv_one_is_the_equation_in_every_form(form):
    maps = tfxai.excitation_backprop(conv_one_of(form))(CONV_ONE_INPUT, 0)
    expected = reference.conv_one_excitation(CONV_ONE_INPUT[0, ..., 0])
    np.testing.assert_allclose(maps[0, ..., 0], expected, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_the_report_lists_every_rectifier(form):
    explainer = tfxai.guided_backprop(conv_one_of(form))
    report = explainer.rule_report(CONV_ONE_INPUT)
    assert [row.kind for row in report] == ["Relu", "Relu"]
    assert "positive gradients pass" in str(report)
    assert len(str(report).splitlines()) == 2


def test_methods_without_a_rule_have_no_report(cnn):
    with pytest.raises(ValueError, match="gradient has no rule"):
        tfxai.gradient(cnn).rule_report()


# Rectifiers


RECTIFIERS = {
    "capped": [L.ReLU(6.0), lambda x: ops.clip(x, 0.0, 6.0), ops.relu6, L.Activation("relu6")],
    "plain": [L.ReLU(), lambda x: ops.maximum(x, 0.0), L.LeakyReLU(0.0), L.ReLU(threshold=0.0)],
    "leaky": [L.LeakyReLU(0.25), lambda x: ops.leaky_relu(x, 0.25), L.ReLU(negative_slope=0.25)],
    "thresholded": [L.ReLU(threshold=0.5), L.ReLU(threshold=0.5, max_value=100)],
}


@pytest.mark.parametrize(
    ("builder", "kind"),
    quick(
        list(itertools.product([tfxai.guided_backprop, tfxai.deconvnet], RECTIFIERS)),
        *((tfxai.guided_backprop, kind) for kind in RECTIFIERS),
    ),
)
def test_rectifiers_are_the_same_however_they_are_written(builder, kind, images):
    maps = []
    for way in RECTIFIERS[kind]:
        keras.utils.set_random_seed(0)
        x = keras.Input((8, 8, 3))
        y = way(2 * L.Conv2D(4, 3)(x))
        y = L.Dense(3)(L.Flatten()(way(L.Conv2D(4, 3)(y))))
        model = keras.Model(x, y)
        maps.append(builder(model)(3 * images, 1).numpy())
    assert maps[0].any()
    for other in maps[1:]:
        np.testing.assert_allclose(other, maps[0], rtol=1e-4, atol=1e-5)


def test_without_rectifiers_guided_backprop_is_the_gradient(images):
    model = small_cnn(activation=None)
    np.testing.assert_allclose(
        tfxai.guided_backprop(model)(images, 2), tfxai.gradient(model)(images, 2), rtol=1e-5
    )


def test_guided_backprop_of_positive_weights_is_the_gradient(cnn, images):
    cnn.set_weights([np.abs(w) for w in cnn.get_weights()])
    guided, gradient = tfxai.guided_backprop(cnn), tfxai.gradient(cnn)
    np.testing.assert_allclose(guided(images, 2), gradient(images, 2), rtol=1e-4)


# Loud


def gated(x):
    y = L.Conv2D(4, 3, activation="relu")(x)
    gate = L.Dense(4, activation="sigmoid", name="gate")(L.GlobalAveragePooling2D(keepdims=True)(y))
    return L.Dense(3)(L.Flatten()(y * gate))


def refusing(builder):
    """A builder that refuses what is not piecewise linear."""
    return functools.partial(BUILDERS[builder], extend=False)


UNKNOWN = {
    "Sigmoid": gated,
    "Sigmoid in '": lambda x: L.Dense(3)(L.Flatten()(L.Conv2D(4, 3, activation="silu")(x))),
    "Tanh": lambda x: L.Dense(3, name="last")(L.Flatten()(ops.tanh(L.Conv2D(2, 3)(x)))),
    "Elu": lambda x: L.Dense(3)(L.Flatten()(L.ELU()(L.Conv2D(2, 3)(x)))),
    "Tanh in '.*/while/lstm_cell": lambda x: L.Dense(3)(L.LSTM(4)(L.Reshape((8, 24))(x))),
    "Softmax": lambda x: L.Dense(3)(L.Flatten()(ops.softmax(L.Conv2D(2, 3)(x)))),
}


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_a_rule_does_not_know_raises_with_its_name_and_the_remedy(builder, kind, images):
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, UNKNOWN[kind](x))
    with pytest.raises(ValueError, match=rf"{builder} does not know.*{kind}.*passthrough=") as e:
        refusing(builder)(model)(images, 0)
    assert "tfxai.split" in str(e.value)


@pytest.mark.parametrize("passthrough", ["Sigmoid", "gate"])
def test_what_is_passed_through_keeps_its_ordinary_gradient(passthrough, images):
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, gated(x))
    model.set_weights([np.abs(w) for w in model.get_weights()])
    guided = tfxai.guided_backprop(model, passthrough=[passthrough], extend=False)
    images = np.abs(images)
    np.testing.assert_allclose(
        guided(images, 1), gradient_of(model, images, 1), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("builder", [tfxai.guided_backprop, tfxai.deconvnet])
def test_the_two_halves_of_a_prelu_are_refused(builder, images):
    x = keras.Input((8, 8, 3))
    y = L.PReLU(name="parametric")(L.Conv2D(2, 3)(x))
    model = keras.Model(x, L.Dense(2)(L.Flatten()(y)))
    with pytest.raises(ValueError, match=r"one of two ReLUs.*passthrough="):
        builder(model, extend=False)(images, 0)
    maps = builder(model, passthrough=["parametric"])(images, 0)
    np.testing.assert_allclose(maps, gradient_of(model, images, 0), rtol=1e-4, atol=1e-6)


def test_passthrough_takes_a_list(cnn):
    with pytest.raises(TypeError, match="passthrough='Relu': expected a list"):
        tfxai.guided_backprop(cnn, passthrough="Relu")


def test_a_function_wrapped_in_tf_function_hides_nothing():
    class Wrapped(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = tf.function(lambda x: tf.nn.relu(tf.nn.relu(x) - 1))

        def call(self, x):
            return self.inner(x)

    model = Wrapped()
    report = tfxai.guided_backprop(model).rule_report(np.ones((1, 3)))
    assert len(report) == 2
    assert not tf.config.functions_run_eagerly()


def test_a_grouped_convolution_is_seen(images):
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, L.Dense(2)(L.Flatten()(L.Conv2D(6, 3, groups=3, activation="relu")(x))))
    assert len(tfxai.guided_backprop(model).rule_report()) == 1
    assert tfxai.guided_backprop(model)(images, 1).numpy().any()


# Excitation backprop


def test_excitation_of_a_dense_network_is_the_equation():
    random = np.random.default_rng(1)
    weights = [random.normal(size=s) for s in ((6, 5), (5, 4), (4, 3))]
    dense = [L.Dense(w.shape[1], activation="relu", use_bias=False) for w in weights]
    model = keras.Sequential([keras.Input((6,)), *dense])
    model.set_weights(weights)
    x = np.abs(random.normal(size=(4, 6)))
    maps = tfxai.excitation_backprop(model)(x, 1)
    expected = [reference.excitation(weights, row, 1) for row in x]
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-7)


def chain(x):
    y = L.Conv2D(6, 3, padding="same", use_bias=False, activation="relu")(x)
    y = L.MaxPooling2D()(L.BatchNormalization()(L.Conv2D(6, 3, use_bias=False)(y)))
    return L.AveragePooling2D(2)(L.ReLU()(y))


def residual(x):
    y = L.Conv2D(6, 1, use_bias=False)(x)
    for _ in range(3):
        z = L.Conv2D(12, 1, use_bias=False, activation="relu6")(y)
        y = y + L.BatchNormalization()(L.Conv2D(6, 3, padding="same", use_bias=False)(z))
    return y


def branches(x):
    y = L.Conv2D(6, 3, use_bias=False, activation="relu")(x)
    z = L.Concatenate()([y, L.Conv2D(6, 1, use_bias=False, activation="relu")(y)])
    scaled = L.Conv2D(12, 1, use_bias=False, activation="relu")(z) * z
    return L.Subtract()([scaled, 0.5 * z])


@pytest.mark.parametrize("body", [chain, residual, branches])
def test_excitation_conserves_mass(body, images):
    keras.utils.set_random_seed(2)
    x = keras.Input((8, 8, 3))
    pooled = L.GlobalAveragePooling2D()(body(x))
    model = keras.Model(x, L.Dense(4, use_bias=False)(pooled))
    maps = tfxai.excitation_backprop(model)(images, 2).numpy()
    assert (maps >= 0).all()
    np.testing.assert_allclose(maps.sum((1, 2, 3)), 1, rtol=1e-5)


def test_what_rearranges_a_kernel_s_outputs_changes_nothing():
    """The reshape that TensorFlow puts behind a dense layer of sequences, and the model's own."""
    first, last, inputs = L.Dense(4), L.Dense(2), keras.Input((6, 5))
    x = np.abs(np.random.default_rng(0).normal(size=(3, 6, 5)))
    maps = []
    for between in ([], [L.Reshape((2, 3, 4)), L.Reshape((3, 2, 4))]):
        y = first(inputs)
        for layer in (*between, L.ReLU(), L.Flatten(), last):
            y = layer(y)
        maps.append(tfxai.excitation_backprop(keras.Model(inputs, y))(x, 1).numpy())
    assert maps[0].any()
    np.testing.assert_allclose(maps[1], maps[0], rtol=1e-6)


def test_a_dilated_convolution_of_sequences_is_one_with_zeros():
    """TensorFlow computes it on the batch and the positions in another order."""
    dilated, spread = L.Conv1D(4, 3, dilation_rate=2), L.Conv1D(4, 5)
    inputs, tail = keras.Input((8, 3)), [L.ReLU(), L.Flatten(), L.Dense(2)]
    models = []
    for convolution in (dilated, spread):
        y = convolution(inputs)
        for layer in tail:
            y = layer(y)
        models.append(keras.Model(inputs, y))
    kernel, bias = dilated.get_weights()
    with_zeros = np.zeros((5, 3, 4))
    with_zeros[::2] = kernel
    spread.set_weights([with_zeros, bias])
    x = np.abs(np.random.default_rng(0).normal(size=(3, 8, 3)))
    for builder in (tfxai.excitation_backprop, tfxai.guided_backprop):
        found, expected = (builder(model)(x, 1).numpy() for model in models)
        assert expected.any()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_excitation_loses_what_only_a_bias_excites():
    model = keras.Sequential([keras.Input((2,)), L.Dense(2, activation="relu"), L.Dense(1)])
    model.set_weights(
        [np.array([[1.0, -1], [1, -1]]), np.array([0.0, 4]), np.array([[2.0], [1]]), np.zeros(1)]
    )
    maps = tfxai.excitation_backprop(model)(np.ones((1, 2)))  # hidden (2, 2): mass 2/3 and 1/3
    np.testing.assert_allclose(maps, [[1 / 3, 1 / 3]], rtol=1e-6)


def test_contrastive_excitation_is_the_equation_and_sums_to_zero():
    random = np.random.default_rng(3)
    weights = [random.normal(size=s) for s in ((6, 15), (15, 14), (14, 3))]
    names = ("low", "high", "logits")
    dense = [
        L.Dense(w.shape[1], "relu" if n != "logits" else None, use_bias=False, name=n)
        for w, n in zip(weights, names, strict=True)
    ]
    model = keras.Sequential([keras.Input((6,)), *dense])
    model.set_weights(weights)
    x = np.abs(random.normal(size=(4, 6)))
    maps = tfxai.excitation_backprop(model, contrast_layer="high")(x, 0).numpy()
    expected = [reference.contrastive_excitation(weights, row, 0) for row in x]
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(maps.sum(1), 0, atol=1e-6)


@pytest.mark.parametrize("contrast_layer", [None, "high"])
def test_excitation_of_one_unit_is_that_of_the_two_classes_it_stands_for(contrast_layer):
    random = np.random.default_rng(5)
    x = np.abs(random.normal(size=(4, 6)))
    one, two = (
        keras.Sequential(
            [
                keras.Input((6,)),
                L.Dense(15, "relu", use_bias=False),
                L.Dense(14, "relu", use_bias=False, name="high"),
                L.Dense(units, use_bias=False),
            ]
        )
        for units in (1, 2)
    )
    w = one.get_weights()[-1]
    two.set_weights([*one.get_weights()[:-1], np.concatenate([-w, w], 1)])
    targets = [1, 0, 0, 1]
    maps, expected = (
        tfxai.excitation_backprop(m, contrast_layer=contrast_layer)(x, targets).numpy()
        for m in (one, two)
    )
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-7)
    assert contrast_layer or (maps >= 0).all()


def test_excitation_at_a_layer_is_upsampled_with_its_mass(images):
    x = keras.Input((8, 8, 3))
    y = L.MaxPooling2D(name="pooled")(L.Conv2D(6, 3, padding="same", activation="relu")(x))
    model = keras.Model(x, L.Dense(4, use_bias=False)(L.Flatten()(y)))
    coarse = tfxai.excitation_backprop(model, layer="pooled", upsample=None)(images, 1)
    assert coarse.shape == (5, 4, 4, 1)
    for upsample in ("bilinear", "nearest"):
        maps = tfxai.excitation_backprop(model, layer="pooled", upsample=upsample)(images, 1)
        assert maps.shape == (5, 8, 8, 1)
        np.testing.assert_allclose(tf.reduce_sum(maps, (1, 2, 3)), 1, rtol=1e-5)
    np.testing.assert_allclose(maps[:, ::2, ::2] * 4, coarse, rtol=1e-5)


# Grad-CAM


def test_grad_cam_lights_up_where_the_evidence_is(trained):
    model, data, labels = trained("relu")
    maps = tfxai.grad_cam(model).explain(data[:40], labels[:40], verbose=0).attributions
    assert maps.shape == (40, 8, 8, 1)
    ink = data[:40] > 0.5
    assert maps[ink].mean() > maps[~ink].mean()


def test_grad_cam_of_a_sequence():
    model = keras.Sequential([keras.Input((12, 3)), L.Conv1D(4, 3, activation="relu")])
    model.add(L.GlobalAveragePooling1D())
    model.add(L.Dense(2))
    maps = tfxai.grad_cam(model)(np.random.default_rng(0).normal(size=(2, 12, 3)), 1)
    assert maps.shape == (2, 12, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "conv2d_x"}, "no such layer; perhaps conv2d"),
        ({"layer": "dense"}, "has no positions to map"),
        ({"upsample": "cubic"}, "upsample='cubic': expected one of"),
        ({"layer": 3}, "layer=3: expected the name"),
        ({"layer": "shared"}, "is called 2 times.*shared@1"),
        ({"layer": "shared@3"}, "calls this layer 2 times"),
        ({"layer": "shared@x"}, "number of a call"),
    ],
)
def test_a_wrong_layer_raises_with_the_remedy(options, message, images):
    x = keras.Input((8, 8, 3))
    shared = L.Conv2D(3, 3, padding="same", activation="relu", name="shared")
    y = L.Conv2D(2, 3, name="conv2d")(shared(shared(x)))
    model = keras.Model(x, L.Dense(2, name="dense")(L.Flatten()(y)))
    with pytest.raises((ValueError, TypeError), match=message):
        tfxai.grad_cam(model, **options)(images, 0)


def test_each_call_of_a_shared_layer_has_a_map(images):
    shared = L.Conv2D(3, 3, padding="same", activation="relu", name="shared")
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, L.Dense(2)(L.Flatten()(shared(shared(x)))))
    maps = [tfxai.grad_cam(model, layer=f"shared@{i}", upsample=None)(images, 1) for i in (1, 2)]
    assert not np.allclose(maps[0], maps[1])
    np.testing.assert_array_equal(maps[1], tfxai.grad_cam(model, upsample=None)(images, 1))


# All rules


@pytest.mark.parametrize("builder", BUILDERS)
def test_forward_values_and_the_model_do_not_change(builder, cnn, images):
    before = [w.numpy().copy() for w in cnn.weights]
    logits = tfxai.logits(cnn)(images).numpy()
    record = BUILDERS[builder](cnn).explain(images, 2, verbose=0)
    np.testing.assert_allclose(record.scores, logits[:, 2], atol=1e-6)
    assert all(np.array_equal(w, b) for w, b in zip(cnn.weights, before, strict=True))
    assert not any("call" in vars(layer) for layer in cnn.layers)


@pytest.mark.parametrize("builder", quick(BUILDERS, "guided_backprop", "excitation_backprop"))
def test_a_rule_follows_further_training(builder, cnn, images):
    explainer = BUILDERS[builder](cnn)
    explainer(images, 0)
    other = small_cnn()
    trained_like(other)
    cnn.set_weights(other.get_weights())
    np.testing.assert_allclose(
        explainer(images, 0), BUILDERS[builder](other)(images, 0), rtol=1e-4, atol=1e-6
    )


def test_rules_take_several_inputs():
    image, row = keras.Input((6, 6, 1), name="image"), keras.Input((4,), name="row")
    seen = L.Flatten()(L.Conv2D(2, 3, activation="relu")(image))
    joined = L.Concatenate()([seen, L.Dense(3, activation="relu")(row)])
    model = keras.Model({"image": image, "row": row}, L.Dense(3)(joined))
    random = np.random.default_rng(0)
    x = {"image": random.normal(size=(3, 6, 6, 1)), "row": random.normal(size=(3, 4))}
    maps = tfxai.guided_backprop(model)(x, 1)
    assert maps["image"].shape == (3, 6, 6, 1)


def test_functions_of_rows(images):
    model = as_model(lambda x: ops.relu(x[:, :1]) - ops.relu(x[:, 1:]), 2)
    x = np.array([[1.0, 1.0], [-1.0, 2.0]])
    np.testing.assert_array_equal(tfxai.guided_backprop(model)(x), [[1, 0], [0, 0]])


def test_an_exported_rule_needs_no_registered_gradient(cnn, images, tmp_path):
    explainer = tfxai.guided_backprop(cnn)
    explainer(images)
    explainer.export(tmp_path, verbose=False)
    assert b"_gradient_op_type" not in (tmp_path / "saved_model.pb").read_bytes()


def test_token_ids_have_no_attributions():
    layers = [L.Embedding(9, 4, name="embedding"), L.Flatten(), L.Dense(2)]
    model = keras.Sequential([keras.Input((5,), dtype="int32"), *layers])
    with pytest.raises(ValueError, match="looked up in a table"):
        tfxai.guided_backprop(model)(np.ones((2, 5), "int32"), 0)
    encoder, head = tfxai.split(model, "embedding")
    assert tfxai.guided_backprop(head)(encoder(np.ones((2, 5), "int32")), 0).shape == (2, 5, 4)


def test_a_layer_above_the_contrast_layer_raises(images):
    convolutions = [L.Conv2D(2, 3, activation="relu", name=name) for name in ("low", "high")]
    model = keras.Sequential([keras.Input((8, 8, 3)), *convolutions, L.Flatten(), L.Dense(2)])
    explainer = tfxai.excitation_backprop(model, layer="high", contrast_layer="low")
    with pytest.raises(ValueError, match="does not depend differentiably"):
        explainer(images, 0)


def test_rules_explain_one_output(cnn, images):
    model = keras.Model(cnn.inputs, [cnn.outputs[0], cnn.layers[1].output])
    explainer = tfxai.guided_backprop(model, score=lambda outputs, targets: outputs[0][:, 1])
    with pytest.raises(ValueError, match=r"tfxai\.scores\.output"):
        explainer(images, 0)
