"""Rules beyond ReLU networks: their laws, their limits, and what they say of themselves.

docs/methods.md, Rules beyond ReLU networks. The references are in float64 numpy, line by line.
"""

import itertools

import keras
import numpy as np
import pytest
from scipy.special import erf

import tfxai
from tests.networks import small_cnn, without_biases
from tests.thorough import quick

L = keras.layers
ops = keras.ops
DOUBLE = {"dtype": "float64"}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


ACTIVATIONS = {
    "silu": (ops.silu, lambda x: x * sigmoid(x)),
    "swish by hand": (lambda x: ops.sigmoid(1.5 * x) * x, lambda x: x * sigmoid(1.5 * x)),
    "gelu": (
        lambda x: ops.gelu(x, approximate=False),
        lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    ),
    "gelu tanh": (
        lambda x: ops.gelu(x, approximate=True),
        lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    ),
    "mish": (keras.activations.mish, lambda x: x * np.tanh(softplus(x))),
    "hard_silu": (ops.hard_silu, lambda x: x * np.clip(x + 3, 0, 6) / 6),
    "elu": (ops.elu, lambda x: np.where(x > 0, x, np.exp(x) - 1)),
    "elu .3": (lambda x: ops.elu(x, 0.3), lambda x: np.where(x > 0, x, 0.3 * (np.exp(x) - 1))),
    "softplus": (ops.softplus, softplus),
    "tanh": (ops.tanh, np.tanh),
    "sigmoid": (ops.sigmoid, sigmoid),
    "squareplus": (lambda x: ops.squareplus(x, 4), lambda x: (x + np.sqrt(x**2 + 4)) / 2),
}


SCALED = ("elu .3", "squareplus")
"""Activations that Keras writes as another activation times a factor."""


def derivative(function, x, step=1e-5):
    return (function(x + step) - function(x - step)) / (2 * step)


def dense_net(activation, units=(7, 5, 3), features=4):
    """A float64 network, and its weights; its activations differ from example to example."""
    keras.utils.set_random_seed(11)
    inputs = keras.Input((features,), dtype="float64")
    y = inputs
    for i, n in enumerate(units):
        y = L.Dense(n, bias_initializer="normal", name=f"d{i}", **DOUBLE)(y)
        y = L.Activation(activation, **DOUBLE)(y) if i < len(units) - 1 else y
    model = keras.Model(inputs, y)
    random = np.random.default_rng(3)
    model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
    return model, [w.astype("float64") for w in model.get_weights()]


def rows(count=6, features=4):
    return np.random.default_rng(5).normal(size=(count, features)) * 2


def backward(weights, x, target, passed):
    """Go back through dense layers: `passed` (pre-activation, cotangent) -> cotangent."""
    (w0, b0, w1, b1, w2, _), f = weights, passed.function
    z0 = x @ w0 + b0
    z1 = f(z0) @ w1 + b1
    cotangent = np.broadcast_to(w2[:, target], (len(x), len(w2)))
    return passed(z0, passed(z1, cotangent) @ w1.T) @ w0.T


class Guided:
    def __init__(self, function):
        self.function = function

    def __call__(self, z, cotangent):
        return np.maximum(derivative(self.function, z), 0) * np.maximum(cotangent, 0)


class Deconvnet(Guided):
    def __call__(self, z, cotangent):
        return np.maximum(cotangent, 0)


# Guided backprop and deconvnet


GUIDED = [(tfxai.guided_backprop, Guided, name) for name in ACTIVATIONS]
DECONVNET = [(tfxai.deconvnet, Deconvnet, name) for name in ACTIVATIONS if name not in SCALED]
"""Not where the activation is scaled afterwards: that is a linear step, which deconvnet keeps."""


@pytest.mark.parametrize(("builder", "passed", "name"), GUIDED + DECONVNET)
def test_only_positive_gradients_pass_every_activation(name, builder, passed):
    in_keras, in_numpy = ACTIVATIONS[name]
    model, weights = dense_net(in_keras)
    x = rows()
    expected = backward(weights, x, 1, passed(in_numpy))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(builder(model)(x, 1), expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(builder(model)(x[:1], 1), expected[:1], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("builder", [tfxai.guided_backprop, tfxai.deconvnet])
@pytest.mark.parametrize("name", ["swish", "gelu", "softplus"])
def test_a_sharp_activation_is_the_relu_of_the_paper(name, builder):
    beta = 1e4
    sharp = {
        "swish": lambda x: x * ops.sigmoid(beta * x),
        "gelu": lambda x: ops.gelu(beta * x, approximate=False) / beta,
        "softplus": lambda x: ops.softplus(beta * x) / beta,
    }[name]
    limit, _ = dense_net(ops.relu)
    maps = builder(dense_net(sharp)[0])(rows(), 2)
    np.testing.assert_allclose(maps, builder(limit)(rows(), 2), atol=1e-6)


@pytest.mark.parametrize(
    ("builder", "options"),
    [(tfxai.guided_backprop, {}), (tfxai.deconvnet, {}), (tfxai.guided_grad_cam, {})],
)
def test_relu_networks_are_not_touched(builder, options, images):
    model = small_cnn()
    extended = builder(model, **options)
    np.testing.assert_array_equal(
        extended(images, 2), builder(model, extend=False, **options)(images, 2)
    )
    assert not any(row.extended for row in extended.rule_report())
    assert "extended" not in extended.explain(images, 2, verbose=0).settings


def test_guided_backprop_is_the_gradient_where_no_sign_is_wrong():
    model, weights = dense_net(ops.softplus)
    model.set_weights([np.abs(w) for w in weights])
    np.testing.assert_allclose(
        tfxai.guided_backprop(model)(rows(), 0), tfxai.gradient(model)(rows(), 0), rtol=1e-9
    )


def test_a_prelu_is_a_leaky_relu(images):
    maps = []
    slope = keras.initializers.Constant(0.25)
    for layer in (L.PReLU(slope, shared_axes=[1, 2]), L.PReLU(slope), L.LeakyReLU(0.25)):
        keras.utils.set_random_seed(0)
        x = keras.Input((8, 8, 3))
        y = L.Dense(3)(L.Flatten()(layer(L.Conv2D(4, 3)(x))))
        maps.append(tfxai.guided_backprop(keras.Model(x, y))(images, 1).numpy())
    assert maps[2].any()
    np.testing.assert_allclose(maps[0], maps[2], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(maps[1], maps[2], rtol=1e-5, atol=1e-7)


def transformer(x):
    x = L.Dense(8, **DOUBLE)(x)
    y = L.LayerNormalization(**DOUBLE)(x)
    x = x + L.MultiHeadAttention(2, 4, name="attention", **DOUBLE)(y, y)
    y = L.Dense(12, activation="gelu", **DOUBLE)(L.LayerNormalization(**DOUBLE)(x))
    x = x + L.Dense(8, **DOUBLE)(y)
    return L.Dense(3, **DOUBLE)(L.GlobalAveragePooling1D(**DOUBLE)(x))


def gated_convolutions(x):
    y = L.Conv1D(6, 2, padding="same", activation="swish", **DOUBLE)(x)
    squeezed = L.Dense(3, activation="swish", **DOUBLE)(L.GlobalAveragePooling1D(**DOUBLE)(y))
    y = y * L.Reshape((1, 6), **DOUBLE)(L.Dense(6, activation="sigmoid", **DOUBLE)(squeezed))
    y = L.GroupNormalization(2, **DOUBLE)(y)
    return L.Dense(3, **DOUBLE)(L.Flatten(**DOUBLE)(L.Activation("hard_silu", **DOUBLE)(y)))


def recurrent(layer):
    return lambda x: L.Dense(3, **DOUBLE)(layer(5, name="loop", **DOUBLE)(x))


def swiglu(x):
    up, gate = L.Dense(7, **DOUBLE)(x), L.Dense(7, activation="swish", **DOUBLE)(x)
    y = L.EinsumDense("bti,tio->bto", (5, 6), **DOUBLE)(up * gate)
    y = y + ops.einsum("bts,bso->bto", L.Softmax(**DOUBLE)(ops.einsum("bto,bso->bts", y, y)), y)
    return L.Dense(3, **DOUBLE)(L.Flatten(**DOUBLE)(y))


BODIES = {"transformer": transformer, "gated": gated_convolutions, "swiglu": swiglu}
BODIES |= {"lstm": recurrent(L.LSTM), "gru": recurrent(L.GRU)}
BODY = quick(list(BODIES), "transformer", "gated", "swiglu")


def sequence_model(body):
    keras.utils.set_random_seed(7)
    inputs = keras.Input((5, 4), dtype="float64")
    return keras.Model(inputs, body(inputs))


def sequences(count=3):
    return np.random.default_rng(6).normal(size=(count, 5, 4))


@pytest.mark.parametrize("body", BODY)
@pytest.mark.parametrize("builder", [tfxai.guided_backprop, tfxai.deconvnet])
def test_networks_of_today_are_explained_and_the_record_says_how(body, builder):
    model = sequence_model(BODIES[body])
    record = builder(model).explain(sequences(), 1, verbose=0)
    assert np.isfinite(record.attributions).all()
    assert all(np.abs(m).max() > 1e-6 for m in record.attributions)
    row = {row.description: row for row in builder(model).rule_report() if row.extended}
    assert set(record.settings["extended"]) == set(row)
    assert "(extended)" in str(builder(model).rule_report())
    one = builder(model)(sequences()[:1], 1)
    np.testing.assert_allclose(one, record.attributions[:1], rtol=1e-9)
    with pytest.raises(ValueError, match="does not know the operation"):
        builder(model, extend=False)(sequences(), 1)


def test_the_report_names_activations_and_normalisations():
    report = tfxai.guided_backprop(sequence_model(transformer)).rule_report()
    found = [row.description for row in report if row.extended]
    assert found.count("normalisation by data: its statistics are held") == 2
    assert found.count("GELU: positive gradients pass") == 1
    assert found.count("softmax: ordinary gradient") == 1
    assert found.count("product of matrices: ordinary gradient") == 2
    report = tfxai.guided_backprop(sequence_model(gated_convolutions)).rule_report()
    found = [row.description.split(":")[0] for row in report if row.extended]
    assert sorted(found) == ["hard swish", "normalisation by data", "sigmoid", "swish", "swish"]


def test_what_is_passed_through_is_not_extended():
    model = sequence_model(transformer)
    maps = tfxai.guided_backprop(model, passthrough=["Erfc", "Rsqrt"])(sequences(), 1)
    np.testing.assert_allclose(maps, tfxai.gradient(model)(sequences(), 1), rtol=1e-9)


def test_an_extended_explainer_is_saved_with_its_option(tmp_path):
    model = sequence_model(gated_convolutions)
    explainer = tfxai.guided_backprop(model)
    expected = explainer(sequences(), 1)
    explainer.save(tmp_path / "explainer.keras")
    loaded = keras.models.load_model(tmp_path / "explainer.keras")
    np.testing.assert_allclose(loaded(sequences(), 1), expected, rtol=1e-12)


def test_extend_is_a_flag(cnn):
    with pytest.raises(ValueError, match="extend='yes': expected one of"):
        tfxai.guided_backprop(cnn, extend="yes")


# Excitation backprop


@pytest.mark.parametrize("body", BODY)
def test_excitation_conserves_probability_beyond_relu_networks(body):
    model = without_biases(sequence_model(BODIES[body]))
    record = tfxai.excitation_backprop(model).explain(sequences(), 1, verbose=0)
    assert (record.attributions >= 0).all()
    np.testing.assert_allclose(record.attributions.sum((1, 2)), 1, rtol=1e-9)
    assert record.settings["extended"]
    one = tfxai.excitation_backprop(model)(sequences()[:1], 1)
    np.testing.assert_allclose(one, record.attributions[:1], rtol=1e-9)


def attention_model():
    """y = A x with A = softmax(x x'), and a dense layer w of it; five tokens of one number."""
    inputs = keras.Input((5, 1), dtype="float64")
    attended = L.Attention(**DOUBLE)([inputs, inputs])
    head = L.Dense(1, use_bias=False, name="head", **DOUBLE)
    model = keras.Model(inputs, head(L.Flatten(**DOUBLE)(attended)))
    w = np.array([[2.0], [1.0], [-1.0], [3.0], [0.5]])
    model.set_weights([w])
    return model, w[:, 0]


def attention_weights(x):
    logits = x @ x.transpose(0, 2, 1)
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def test_excitation_of_attention_is_the_equation():
    """y = A v with v = x w: what reaches y_i is shared among the [A_ij v_j]+."""
    x = np.abs(sequences(2))[..., :1] + 0.1
    model, w = attention_model()
    weights = attention_weights(x)
    y = (weights @ x)[..., 0]
    top = np.maximum(y * w, 0)
    top /= top.sum(1, keepdims=True)
    shares = weights * x.transpose(0, 2, 1) / y[..., None]
    expected = (top[..., None] * shares).sum(1)
    maps = tfxai.excitation_backprop(model)(x, 1)
    np.testing.assert_allclose(maps[..., 0], expected, rtol=1e-9)


@pytest.mark.parametrize("builder", [tfxai.pattern_net, tfxai.pattern_attribution])
def test_patterns_hold_the_weights_of_an_attention(builder):
    """What reaches y = A v passes to v by A', as if A were constant."""
    model, w = attention_model()
    patterns = tfxai.fit_patterns(model, sequences(200)[..., :1], verbose=0)
    x, a = sequences(3)[..., :1], patterns["head"][:, 0]
    passed = a if builder is tfxai.pattern_net else w * a
    expected = attention_weights(x).transpose(0, 2, 1) @ passed
    explainer = builder(model, patterns, start="one")
    np.testing.assert_allclose(explainer(x, 1)[..., 0], expected, rtol=1e-5, atol=1e-8)
    report = [row.description for row in explainer.rule_report() if row.extended]
    assert report.count("product of matrices: passed to what attention weighs") == 1


@pytest.mark.parametrize("beta", [1e4])
def test_excitation_of_a_sharp_swish_is_that_of_the_relu(beta):
    sharp, _ = dense_net(lambda x: x * ops.sigmoid(beta * x))
    limit, _ = dense_net(ops.relu)
    found, expected = (tfxai.excitation_backprop(m)(rows(), 2) for m in (sharp, limit))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_excitation_of_relu_networks_is_not_touched(images):
    model = small_cnn()
    extended = tfxai.excitation_backprop(model)
    refusing = tfxai.excitation_backprop(model, extend=False)
    np.testing.assert_array_equal(extended(images, 2), refusing(images, 2))
    assert not any(row.extended for row in extended.rule_report())


# Patterns


@pytest.mark.parametrize("name", ["silu", "gelu", "tanh", "softplus", "elu"])
def test_patterns_stand_in_for_weights_beside_any_activation(name):
    in_keras, in_numpy = ACTIVATIONS[name]
    model, (w0, b0, w1, b1, w2, _) = dense_net(in_keras)
    patterns = tfxai.fit_patterns(model, rows(300), verbose=0)
    for kernel, w in (("d0", w0), ("d1", w1), ("d2", w2)):
        products = (patterns[kernel] * w).sum(0)
        np.testing.assert_allclose(products[products != 0], 1, rtol=1e-5)
    x = rows()
    z0 = x @ w0 + b0
    z1 = in_numpy(z0) @ w1 + b1
    for builder, (v0, v1, v2) in {
        tfxai.pattern_net: [patterns[k] for k in ("d0", "d1", "d2")],
        tfxai.pattern_attribution: [w0 * patterns["d0"], w1 * patterns["d1"], w2 * patterns["d2"]],
    }.items():
        cotangent = derivative(in_numpy, z1) * v2[:, 1]
        expected = (derivative(in_numpy, z0) * (cotangent @ v1.T)) @ v0.T
        explainer = builder(model, patterns, start="one")
        np.testing.assert_allclose(explainer(x, 1), expected, rtol=1e-5, atol=1e-7)
    assert explainer.explain(x, 1, verbose=0).settings["extended"]
    with pytest.raises(ValueError, match="does not know the operation"):
        tfxai.fit_patterns(model, x, extend=False, verbose=0)


@pytest.mark.parametrize("body", BODY)
def test_patterns_of_networks_of_today(body):
    model = sequence_model(BODIES[body])
    patterns = tfxai.fit_patterns(model, sequences(40), verbose=0)
    maps = tfxai.pattern_guided_integrated_gradients(model, patterns, steps=3)(sequences(), 1)
    assert np.isfinite(maps).all()
    assert np.abs(maps).max() > 0


def prelu_twins():
    """A network with PReLUs, and the same one with leaky ReLUs."""
    for layer in (L.PReLU(keras.initializers.Constant(0.2)), L.LeakyReLU(0.2)):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((6, 6, 2))
        y = L.Conv2D(3, 3, name="conv")(inputs)
        yield keras.Model(inputs, L.Dense(3, name="head")(L.Flatten()(layer(y))))


def test_patterns_beside_a_prelu_are_those_beside_a_leaky_relu():
    x = np.random.default_rng(0).normal(size=(200, 6, 6, 2)).astype("float32")
    found = []
    for model in prelu_twins():
        patterns = tfxai.fit_patterns(model, x, verbose=0)
        found.append((patterns, tfxai.pattern_attribution(model, patterns)(x[:3], 1)))
    (of_prelu, maps), (of_leaky, expected) = found
    for name in ("conv", "head"):
        np.testing.assert_allclose(of_prelu[name], of_leaky[name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-5)


def test_patterns_of_relu_networks_are_not_touched(images):
    model = small_cnn()
    extended, refusing = (
        tfxai.fit_patterns(model, images, extend=e, verbose=0) for e in (True, False)
    )
    assert list(extended) == list(refusing)
    for name, pattern in extended.items():
        np.testing.assert_array_equal(pattern, refusing[name])
    for builder in (
        tfxai.pattern_net,
        tfxai.pattern_attribution,
        tfxai.pattern_guided_integrated_gradients,
    ):
        maps, expected = (builder(model, extended, extend=e)(images, 2) for e in (True, False))
        np.testing.assert_array_equal(maps, expected)
        assert not any(row.extended for row in builder(model, extended).rule_report())


def rms(x):
    return ops.rsqrt(ops.mean(ops.square(x), -1, keepdims=True) + 1e-3)


SCALE, SHIFT = np.array([2.0, -0.5, 1.5, 0.25, -3.0, 1.0]), np.array([0.3, 0, -1, 2, 0, 0.1])
NORMALISATIONS = {
    "scale within": lambda x: x * (rms(x) * SCALE) + SHIFT,
    "scale behind": lambda x: x * rms(x) * SCALE + SHIFT,
    "scale first": lambda x: SCALE * (x * rms(x)) + SHIFT,
    "divided": lambda x: x * rms(x) / (1 / SCALE) + SHIFT,
}


@pytest.mark.parametrize("name", quick(["scale behind", "scale first", "divided"], "scale behind"))
def test_rules_do_not_depend_on_where_a_normalisation_has_its_scale(name):
    maps = []
    for normalisation in (NORMALISATIONS["scale within"], NORMALISATIONS[name]):
        model, _ = dense_net(normalisation, units=(6, 6, 3))
        patterns = tfxai.fit_patterns(model, rows(300), verbose=0)
        assert list(patterns) == ["d0", "d1", "d2"]
        explainers = [tfxai.pattern_net(model, patterns), tfxai.guided_backprop(model)]
        explainers += [tfxai.pattern_attribution(model, patterns), tfxai.excitation_backprop(model)]
        maps.append([explainer(rows(), 1) for explainer in explainers])
        found = [row.description for row in explainers[0].rule_report() if row.extended]
        assert found == ["normalisation by data: its statistics are held"] * 2
    for found, expected in zip(*maps, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_an_rms_normalisation_and_its_scale_are_one_step():
    inputs = keras.Input((4,))
    outputs = L.Dense(3)(L.RMSNormalization()(L.Dense(5)(inputs)))
    model = keras.Model(inputs, outputs)
    patterns = tfxai.fit_patterns(model, rows(50), verbose=0)
    descriptions = [row.description for row in tfxai.pattern_net(model, patterns).rule_report()]
    assert descriptions == [
        "pattern for weights",
        "normalisation by data: its statistics are held",
        "pattern for weights",
    ]


def normalised_by_std(x):
    return (x - ops.mean(x, -1, keepdims=True)) / ops.std(x, -1, keepdims=True)


def normalised_by_hand(x):
    centred = x - ops.mean(x, -1, keepdims=True)
    return centred / ops.sqrt(ops.mean(ops.square(centred), -1, keepdims=True))


NORMALISED = {"plain": normalised_by_std, "by hand": normalised_by_hand}


@pytest.mark.parametrize(
    ("name", "normalisation"),
    quick(
        list(itertools.product(("guided_backprop", "deconvnet", "pattern_net"), NORMALISED)),
        ("guided_backprop", "by hand"),
        ("pattern_net", "plain"),
    ),
)
def test_the_statistics_of_a_normalisation_are_held(name, normalisation):
    """It is y = (x - m) / s with the mean m and the size s of the example, both constants."""
    in_keras, in_numpy = ACTIVATIONS["gelu"]
    model, (w0, b0, w1, _) = dense_net(
        lambda x: in_keras(NORMALISED[normalisation](x)), units=(6, 3)
    )
    z = rows() @ w0 + b0
    mean, size = z.mean(-1, keepdims=True), z.std(-1, keepdims=True)
    slope = derivative(in_numpy, (z - mean) / size)
    if name == "pattern_net":
        patterns = tfxai.fit_patterns(model, rows(300), verbose=0)
        explainer = tfxai.pattern_net(model, patterns, start="one")
        expected = slope * patterns["d1"][:, 1] / size @ patterns["d0"].T
    else:
        explainer = getattr(tfxai, name)(model)
        passed = np.maximum(slope, 0) if name == "guided_backprop" else 1
        expected = passed * np.maximum(w1[:, 1], 0) / size @ w0.T
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(explainer(rows(), 1), expected, rtol=1e-5, atol=1e-7)
    in_a_row = [explainer(x[None], 1)[0] for x in rows()]
    np.testing.assert_allclose(in_a_row, explainer(rows(), 1), rtol=1e-9)
