"""Grad-CAM of several inputs maps the one whose places the layer's positions stand for."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.test_grad_cam_tokens import images as images_of_tokens
from tests.test_grad_cam_tokens import vit
from tests.thorough import quick

L = keras.layers
TARGETS = [0, 2, 1]
POSITIVE = keras.initializers.RandomUniform(0.1, 1.0, seed=5)
"""Weights of a last layer with which every class has a map."""


def gated(dtype=None, image_type=None):
    """A picture whose channels a table gates; the names are out of alphabetical order."""
    keras.utils.set_random_seed(0)
    floats = dtype if dtype == "float64" else "float32"  # also of mixed precision
    picture = keras.Input((12, 10, 3), name="zz", dtype=image_type or floats)
    table = keras.Input((4,), name="aa", dtype=floats)
    x = L.Rescaling(1 / 255, dtype=dtype)(picture) if image_type == "uint8" else picture
    x = L.Conv2D(5, 3, padding="same", activation="relu", name="first", dtype=dtype)(x)
    gates = L.Dense(5, activation="sigmoid", dtype=dtype)(table)
    x = L.Multiply(dtype=dtype)([x, L.Reshape((1, 1, 5), dtype=dtype)(gates)])
    x = L.Conv2D(6, 3, strides=2, activation="relu", name="second", dtype=dtype)(x)
    x = L.Concatenate(dtype=dtype)([L.GlobalAveragePooling2D(dtype=dtype)(x), table])
    return [picture, table], L.Dense(3, kernel_initializer=POSITIVE, dtype=dtype)(x)


def examples(count=3, image_type="float32"):
    """Ordered ones, from faint to strong."""
    random = np.random.default_rng(0)
    scale = np.linspace(0.3, 2, count)
    pictures = random.normal(size=(count, 12, 10, 3)) * scale[:, None, None, None]
    if image_type == "uint8":
        pictures = np.clip(128 + 60 * pictures, 0, 255)
    table = random.normal(size=(count, 4)) * scale[:, None]
    return {"zz": pictures.astype(image_type), "aa": table.astype("float32")}


def with_constant(model, x, i):
    """The model of the picture alone, for the table of one example."""
    picture = keras.Input(x["zz"].shape[1:], dtype=model.input["zz"].dtype)
    row = tf.constant(x["aa"][i : i + 1], model.input["aa"].dtype)
    table = L.Lambda(lambda p: tf.repeat(row, tf.shape(p)[0], 0), dtype=row.dtype.name)(picture)
    return keras.Model(picture, model({"zz": picture, "aa": table}))


@pytest.mark.parametrize(
    ("build", "dtype", "image_type", "tolerance"),
    quick(
        [
            (tfxai.grad_cam, None, None, 1e-6),
            (tfxai.guided_grad_cam, None, None, 1e-6),
            (tfxai.grad_cam, "float64", None, 1e-12),
            (tfxai.guided_grad_cam, "mixed_float16", None, 1e-2),
            (tfxai.grad_cam, "mixed_float16", None, 1e-2),
            (tfxai.guided_grad_cam, "float64", None, 1e-12),
            (tfxai.grad_cam, None, "uint8", 1e-6),
            (tfxai.guided_grad_cam, None, "uint8", 1e-6),
        ],
        (tfxai.grad_cam, None, None, 1e-6),
        (tfxai.guided_grad_cam, "float64", None, 1e-12),
        (tfxai.guided_grad_cam, None, "uint8", 1e-6),
    ),
)
def test_the_map_is_that_of_the_model_whose_other_input_is_constant(
    build, dtype, image_type, tolerance
):
    inputs, outputs = gated(dtype, image_type)
    model = keras.Model({x.name: x for x in inputs}, outputs)
    x = examples(image_type=image_type or "float32")
    record = build(model).explain(x, TARGETS, verbose=0)
    assert record.attributions.shape[:-1] == (3, 12, 10)
    np.testing.assert_array_equal(record.inputs, x["zz"])
    assert record.attributions.any((1, 2, 3)).all()
    for i in range(3):
        alone = build(with_constant(model, x, i))(x["zz"][i : i + 1], TARGETS[i])
        error = np.abs(record.attributions[i] - alone[0]).max()
        assert error <= tolerance * np.abs(alone).max()


class Subclassed(keras.Model):
    """Declares nothing; an integer names a class."""

    def __init__(self):
        super().__init__()
        self.seen = L.Conv2D(4, 3, activation="relu", name="seen")
        self.label, self.last = L.Embedding(10, 4), L.Dense(3, kernel_initializer=POSITIVE)

    def call(self, x):
        picture = keras.ops.mean(self.seen(x["b"]["picture"]), (1, 2))
        label = self.label(keras.ops.cast(x["a"], "int32"))[:, 0]
        return self.last(keras.ops.concatenate([label, picture], -1))


def test_every_structure_of_the_inputs():
    (picture, table), outputs = gated()
    x = examples()
    by_name = keras.Model({"zz": picture, "aa": table}, outputs)
    expected = tfxai.grad_cam(by_name)(x, TARGETS)
    listed = keras.Model([table, picture], outputs)
    nested = keras.Model({"a": [table], "b": {"c": picture}}, outputs)
    for model, given in [
        (listed, [x["aa"], x["zz"]]),
        (listed, x),
        (nested, {"b": {"c": x["zz"]}, "a": [x["aa"]]}),
    ]:
        explainer = tfxai.grad_cam(model)
        np.testing.assert_array_equal(explainer(given, TARGETS), expected)
        record = explainer.explain(given, TARGETS, batch_size=2, verbose=0)
        np.testing.assert_allclose(record.attributions, expected, rtol=1e-5, atol=1e-8)
        np.testing.assert_array_equal(record.inputs, x["zz"])
        first = keras.tree.map_structure(lambda v: v[:1], given)
        np.testing.assert_allclose(explainer(first, 0), expected[:1], rtol=1e-5, atol=1e-8)
    named = tfxai.grad_cam(nested, inputs="b/c", layer="second")
    np.testing.assert_array_equal(
        named({"a": [x["aa"]], "b": {"c": x["zz"]}}, TARGETS),
        tfxai.grad_cam(by_name, layer="second")(x, TARGETS),
    )


@pytest.mark.parametrize("build", [tfxai.grad_cam, tfxai.guided_grad_cam])
def test_a_subclassed_model_with_an_integer_beside_the_picture(build):
    keras.utils.set_random_seed(1)
    model, random = Subclassed(), np.random.default_rng(2)
    explainer = build(model)
    for size in [(3, 8, 7), (1, 5, 9)]:
        labels = np.arange(size[0])[:, None] + 3
        x = {"a": labels, "b": {"picture": random.normal(size=(*size, 3)).astype("float32")}}
        record = explainer.explain(x, 1, verbose=0)
        assert record.attributions.any((1, 2, 3)).all()
        assert record.attributions.shape[:-1] == size
        np.testing.assert_array_equal(record.inputs, x["b"]["picture"])
        np.testing.assert_allclose(record.attributions, explainer(x, 1), rtol=1e-5, atol=1e-8)


def twins(join):
    """Two pictures; `join` makes features of both."""
    keras.utils.set_random_seed(3)
    right, left = (keras.Input((9, 8, 3), name=name) for name in ("right", "left"))
    outputs = L.Dense(2, kernel_initializer=POSITIVE)(join(right, left))
    return keras.Model([right, left], outputs)


def siamese():
    convolution = L.Conv2D(4, 3, activation="relu", name="seen")
    backbone = keras.Sequential([convolution, L.GlobalAveragePooling2D()])
    return twins(lambda right, left: L.Concatenate()([backbone(right), backbone(left)]))


def joined():
    convolution = L.Conv2D(4, 3, activation="relu", name="seen")
    return twins(
        lambda right, left: L.GlobalAveragePooling2D()(convolution(L.Concatenate()([right, left])))
    )


@pytest.fixture
def pair():
    return [np.random.default_rng(4).normal(size=(2, 9, 8, 3)).astype("float32") for _ in "ab"]


@pytest.mark.parametrize(
    ("network", "build"),
    quick(
        [(n, b) for n in (siamese, joined) for b in (tfxai.grad_cam, tfxai.guided_grad_cam)],
        (siamese, tfxai.guided_grad_cam),
        (joined, tfxai.grad_cam),
    ),
)
def test_of_two_pictures_the_option_says_which(network, build, pair):
    pair[1] *= 2
    model = network()
    with pytest.raises(ValueError, match="of 2 inputs; say which one is to be mapped") as error:
        build(model)(pair, 1)
    options = re.findall(r"inputs='\w+'", str(error.value))
    assert options == ["inputs='right'", "inputs='left'"]
    for place, option in enumerate(options):
        explainer = eval(f"build(model, {option})")
        found = explainer(pair, [1, 0])
        for i, target in enumerate([1, 0]):
            alone = keras.Input((9, 8, 3))
            other = L.Lambda(lambda v, o=pair[1 - place][i : i + 1]: 0 * v + o)(alone)
            one = keras.Model(alone, model([alone, other] if place == 0 else [other, alone]))
            expected = build(
                one,
                inputs=None if network is joined else alone.name,
                **({"layer": f"seen@{place + 1}"} if network is siamese else {}),
            )(pair[place][i : i + 1], target)
            np.testing.assert_allclose(found[i], expected[0], rtol=1e-4, atol=1e-8)
    assert not np.allclose(build(model, inputs="left")(pair, 0), 0)


def test_a_layer_of_one_picture_needs_no_option(pair):
    model = siamese()
    for place, name in enumerate(("right", "left")):
        by_layer = tfxai.grad_cam(model, layer=f"seen@{place + 1}")(pair, 1)
        np.testing.assert_array_equal(tfxai.grad_cam(model, inputs=name)(pair, 1), by_layer)
    with pytest.raises(
        ValueError, match=r"inputs='left': the positions of layer='seen@1'.*'right'"
    ):
        tfxai.grad_cam(model, inputs="left", layer="seen@1")(pair, 1)
    with pytest.raises(ValueError, match=r"'seen' is called 2 times; say which.*seen@1 to seen@2"):
        tfxai.grad_cam(model, inputs="left", layer="seen")(pair, 1)


def test_what_cannot_be_mapped_is_refused(pair):
    inputs, outputs = gated()
    model = keras.Model(inputs, outputs)
    x = examples()
    with pytest.raises(ValueError, match="the model has no such input, but 'zz', 'aa'"):
        tfxai.grad_cam(model, inputs="image")(x, 0)
    with pytest.raises(TypeError, match=r"inputs=\['zz'\]: expected the name of one input"):
        tfxai.grad_cam(model, inputs=["zz"])
    with pytest.raises(ValueError, match="between the input 'aa' and the score"):
        tfxai.grad_cam(model, inputs="aa")(x, 0)
    with pytest.raises(ValueError, match=r"inputs='aa': .*no places of this input, .*inputs='zz'"):
        tfxai.grad_cam(model, inputs="aa", layer="second")(x, 0)
    seen = L.Conv2D(2, 3, activation="relu", name="seen")
    unused = twins(lambda right, left: L.GlobalAveragePooling2D()(seen(left)))
    assert tfxai.grad_cam(unused)(pair, 0).shape == (2, 9, 8, 1)
    assert tfxai.guided_grad_cam(unused)(pair, 0).shape == (2, 9, 8, 3)
    with pytest.raises(ValueError, match=r"no places of this input, but for .* inputs='left'"):
        tfxai.grad_cam(unused, inputs="right", layer="seen")(pair, 0)


@pytest.mark.parametrize("build", quick([tfxai.grad_cam, tfxai.guided_grad_cam], tfxai.grad_cam))
def test_channels_first_of_one_of_two_sizes(build):
    first, last = keras.Input((3, 10, 12), name="z"), keras.Input((6, 8, 1), name="a")
    x = L.Conv2D(4, 3, activation="relu")(L.Permute((2, 3, 1))(first))
    y = L.Conv2D(5, 3, activation="relu", name="of_a")(last)
    pooled = [L.GlobalAveragePooling2D()(v) for v in (x, y)]
    outputs = L.Dense(2, kernel_initializer=POSITIVE)(L.Concatenate()(pooled))
    model = keras.Model([first, last], outputs)
    given = [np.random.default_rng(5).normal(size=(2, *v.shape[1:])) for v in (first, last)]
    record = build(model, inputs="z").explain(given, 0, verbose=0)
    channels = 1 if build is tfxai.grad_cam else 3
    assert (record.attributions.shape, record.channels) == ((2, channels, 10, 12), -3)
    assert record.attributions.any()
    record = build(model, layer="of_a").explain(given, 0, verbose=0)
    assert (record.attributions.shape, record.channels) == ((2, 6, 8, 1), -1)
    assert record.plot().axes


@pytest.mark.parametrize(
    "build", quick([tfxai.grad_cam, tfxai.guided_grad_cam], tfxai.guided_grad_cam)
)
def test_it_is_saved_exported_and_measured(build, tmp_path):
    (picture, table), outputs = gated()
    model, x = keras.Model({"zz": picture, "aa": table}, outputs), examples()
    explainer = build(model, inputs="zz" if build is tfxai.grad_cam else None)
    record = explainer.explain(x, TARGETS, verbose=0)
    maps = record.attributions
    assert record.plot().axes
    loaded = tfxai.Explanation.load(record.save(tmp_path / "record.npz"))
    np.testing.assert_array_equal(loaded.attributions, maps)
    explainer.save(tmp_path / "explainer.keras")
    again = keras.saving.load_model(tmp_path / "explainer.keras")
    assert again.settings == explainer.settings
    np.testing.assert_array_equal(again(x, TARGETS), maps)
    both = keras.Model(model.input, {"p": model(model.input), "why": explainer(model.input)})
    predicted = explainer(x)
    np.testing.assert_array_equal(both(x)["why"], predicted)
    np.testing.assert_allclose(explainer.predict(x, verbose=0), predicted, rtol=1e-5, atol=1e-8)
    tfxai.export(model, tmp_path / "served", {"cam": explainer})
    served = tf.saved_model.load(tmp_path / "served").signatures["explain_cam"]
    given = {f"inputs_{name}": tf.constant(value) for name, value in x.items()}
    answer = served(**given, targets=tf.constant(TARGETS), seed=tf.constant(0))
    np.testing.assert_allclose(answer["attributions"], maps, rtol=1e-5, atol=1e-8)
    sums = maps.sum(-1, keepdims=True)
    curve = tfxai.metrics.deletion(model, x, {"zz": sums}, TARGETS)
    assert np.isfinite(curve.auc).all()
    with pytest.raises(TypeError, match="expected a dict with the maps of the inputs 'aa', 'zz'"):
        tfxai.metrics.deletion(model, x, maps, TARGETS)


BUILT_UPON = {
    "smoothgrad": lambda cam: tfxai.smoothgrad(cam, samples=3, noise_level=0),
    "noisegrad": lambda cam: tfxai.noisegrad(cam, samples=3, epsilon=0),
    "fusiongrad": lambda cam: tfxai.fusiongrad(cam, samples=(2, 2), epsilon=0, noise_level=0),
    "adaptgrad": lambda cam: tfxai.adaptgrad(cam, samples=3, bounds=(-9.0, 9.0)),
    "gradient_times_input": tfxai.gradient_times_input,
    "integrated_gradients": lambda cam: tfxai.integrated_gradients(
        cam, steps=2, quadrature=tfxai.quadrature.midpoint
    ),
    "adaptive path": lambda cam: tfxai.integrated_gradients(cam, steps=4),
}


MAPPED = {
    "grad_cam": tfxai.grad_cam,
    "guided_grad_cam": tfxai.guided_grad_cam,
    "occlusion": lambda model: tfxai.occlusion(model, inputs="zz", patch=4),
}


@pytest.mark.filterwarnings("ignore:.*not converged")
@pytest.mark.parametrize(
    ("name", "build"),
    quick(
        [(name, build) for name in BUILT_UPON for build in MAPPED],
        ("noisegrad", "grad_cam"),
        ("smoothgrad", "guided_grad_cam"),
        ("integrated_gradients", "grad_cam"),
        ("gradient_times_input", "grad_cam"),
        ("adaptive path", "grad_cam"),
    ),
)
def test_other_methods_build_upon_the_map_of_one_input(name, build):
    (picture, table), outputs = gated()
    model, x = keras.Model({"zz": picture, "aa": table}, outputs), examples()
    cam = MAPPED[build](model)
    record = BUILT_UPON[name](cam).explain(x, TARGETS, verbose=0)
    maps = cam(x, TARGETS).numpy()
    np.testing.assert_array_equal(record.inputs, x["zz"])
    if name in ("smoothgrad", "noisegrad", "fusiongrad"):
        np.testing.assert_allclose(record.attributions, maps, rtol=1e-4, atol=1e-7)
        assert record.diagnostics["pooled_error"].shape == (3,)
    elif name == "gradient_times_input":
        np.testing.assert_allclose(record.attributions, maps * x["zz"], rtol=1e-5, atol=1e-8)
    elif name == "integrated_gradients":
        between = [cam({k: a * v for k, v in x.items()}, TARGETS).numpy() for a in (0.25, 0.75)]
        expected = sum(between) / 2 * x["zz"]
        np.testing.assert_allclose(record.attributions, expected, rtol=1e-4, atol=1e-7)
    elif name == "adaptgrad":
        assert record.attributions.shape == maps.shape
    else:
        assert record.attributions.shape == x["zz"].shape


def test_noise_on_the_weights_of_a_transformer_keeps_its_activation():
    model, x = vit(), images_of_tokens()
    cam = tfxai.grad_cam(model)
    found = tfxai.noisegrad(cam, samples=2, epsilon=0)(x, 1)
    np.testing.assert_allclose(found, cam(x, 1), rtol=1e-4, atol=1e-6)


def test_tokens_of_a_picture_beside_ids_of_any_length():
    """The activation that the class token leaves is found for ids of some length."""
    inputs, ids = keras.Input((16, 8, 3), name="v"), keras.Input((None,), dtype="int32", name="ids")
    words = L.GlobalAveragePooling1D()(L.Conv1D(4, 3, padding="same")(L.Embedding(9, 4)(ids)))
    model = keras.Model([ids, inputs], L.Dense(3)(L.Concatenate()([vit()(inputs), words])))
    given = [np.array([[1, 2, 3], [4, 5, 6], [7, 8, 0]]), images_of_tokens()]
    assert np.asarray(tfxai.grad_cam(model, inputs="v")(given, 0)).any()
    assert tfxai.grad_cam(model, inputs="ids")(given, 0).shape == (3, 3)
    with pytest.raises(ValueError, match="inputs='ids' or inputs='v'"):
        tfxai.grad_cam(model)(given, 0)
