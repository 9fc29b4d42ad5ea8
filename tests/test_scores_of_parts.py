"""Scores of an output of several, a region, a place, a box or a unit, against slow equations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.segmenters import images, segmenter, two_headed
from tests.thorough import quick
from tfxai import scores
from tfxai.scores import box, margin, output, position, probability, region, unit

X = images()
MASK = np.add.outer(np.arange(8), np.arange(6)) % 3 == 0
TARGETS = [3, 0, 1, 2]


def logits_of(model, x, key):
    """The logits of one output, by a model whose last layer has lost its activation."""
    (last,) = [layer for layer in model.layers if layer.output is model.output[key]]
    kernel, bias = last.get_weights()
    before = keras.Model(model.inputs, last.input)(x)
    return tf.tensordot(before, kernel.reshape(kernel.shape[-2:]), 1) + bias


def pick(rows, targets):
    return tf.stack([rows[i, ..., t] for i, t in enumerate(targets)])


def mean_over(values, mask):
    return tf.reduce_sum(values * mask, [1, 2]) / tf.reduce_sum(mask * tf.ones_like(values), [1, 2])


def predicted_region(model, targets):
    classes = model(X)["mask"].numpy().argmax(-1)
    return (classes == np.array(targets)[:, None, None]).astype("float32")


def targets_that_are_predicted(model):
    """For each example the class that it predicts at fewest pixels, but at one at least."""
    counts = [np.bincount(c.ravel(), minlength=4) for c in model(X)["mask"].numpy().argmax(-1)]
    targets = [int(np.where(c > 0, c, 999).argmin()) for c in counts]
    assert len(set(targets)) > 1
    return targets


CASES = {
    "output": (
        output("label"),
        lambda m, x, t: pick(logits_of(m, x, "label"), t),
    ),
    "output, margin": (
        output("label", margin),
        lambda m, x, t: (
            pick(logits_of(m, x, "label"), t)
            - tf.reduce_max(tf.where(tf.one_hot(t, 5) > 0, -1e9, logits_of(m, x, "label")), -1)
        ),
    ),
    "output, probability": (
        output("label", probability),
        lambda m, x, t: pick(m(x)["label"], t),
    ),
    "region by a mask": (
        output("mask", region(MASK)),
        lambda m, x, t: mean_over(pick(logits_of(m, x, "mask"), t), MASK.astype("float32")),
    ),
    "region by weights": (
        output("mask", region(np.arange(48).reshape(8, 6))),
        lambda m, x, t: mean_over(
            pick(logits_of(m, x, "mask"), t), np.arange(48.0, dtype="float32").reshape(8, 6)
        ),
    ),
    "sum over a region": (
        output("mask", region(MASK, reduction="sum")),
        lambda m, x, t: tf.reduce_sum(pick(logits_of(m, x, "mask"), t) * MASK, [1, 2]),
    ),
    "region, probability": (
        output("mask", region(MASK, score=probability)),
        lambda m, x, t: mean_over(pick(m(x)["mask"], t), MASK.astype("float32")),
    ),
    "predicted region": (
        output("mask", region()),
        lambda m, x, t: mean_over(pick(logits_of(m, x, "mask"), t), predicted_region(m, t)),
    ),
    "pixel": (
        output("mask", position((5, -2))),
        lambda m, x, t: pick(logits_of(m, x, "mask")[:, 5, 4], t),
    ),
    "box": (
        output("boxes", box(7)),
        lambda m, x, t: pick(m(x)["boxes"][:, 7], t),
    ),
    "best box": (
        output("boxes", box()),
        lambda m, x, t: tf.reduce_max(pick(m(x)["boxes"], t), 1),
    ),
    "unit": (
        output("boxes", unit((7, 2))),
        lambda m, x, t: m(x)["boxes"][:, 7, 2],
    ),
    "unit of probabilities": (
        output("label", unit(3)),
        lambda m, x, t: m(x)["label"][:, 3],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_score_and_its_gradient(name):
    model = two_headed()
    score, equation = CASES[name]
    targets = [0] * 4 if "unit" in name else TARGETS
    if name == "predicted region":
        targets = targets_that_are_predicted(model)
    x = tf.Variable(X)
    with tf.GradientTape() as tape:
        expected = equation(model, x, targets)
    record = tfxai.gradient(model, score=score).explain(X, targets, verbose=0)
    np.testing.assert_allclose(record.scores, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        record.attributions, tape.gradient(expected, x), rtol=1e-3, atol=1e-6
    )
    assert record.head == ("softmax" if score.on_logits and "box" not in name else None)
    assert record.attributions.any()


@pytest.mark.parametrize("head", ["softmax", "sigmoid", None])
def test_predicted_classes_and_regions_of_a_segmenter(head):
    model = segmenter(head)
    outputs = model(X).numpy()
    at = position((2, 3))
    record = tfxai.gradient(model, score=at).explain(X, verbose=0)
    np.testing.assert_array_equal(record.targets, outputs[:, 2, 3].argmax(-1))
    largest = outputs.argmax(-1)[..., None] == np.arange(4)
    claims = outputs > 0.5 if head == "sigmoid" else largest
    for score, weights in ((region(), np.ones_like(MASK)), (region(MASK), MASK)):
        record = tfxai.gradient(model, score=score).explain(X, verbose=0)
        votes = (claims * weights[..., None]).sum((1, 2))
        np.testing.assert_array_equal(record.targets, votes.argmax(-1))
    assert len(set(record.targets)) > 1
    record = tfxai.gradient(model, score=region(score=probability)).explain(X, verbose=0)
    probabilities = outputs if head else tf.nn.softmax(outputs).numpy()
    for i, t in enumerate(record.targets):
        expected = probabilities[i, ..., t][claims[i, ..., t]].mean()
        np.testing.assert_allclose(record.scores[i], expected, rtol=1e-5)


@pytest.mark.parametrize("head", ["sigmoid", None])
def test_a_segmenter_of_one_unit_has_two_classes(head):
    keras.utils.set_random_seed(0)
    layer = keras.layers.Conv2D(1, 3, padding="same", activation=head)
    model = keras.Sequential([keras.Input((8, 6, 3)), layer])
    z = tf.nn.conv2d(X, layer.kernel, 1, "SAME").numpy()[..., 0]
    record = tfxai.gradient(model, score=region()).explain(X, verbose=0)
    np.testing.assert_array_equal(record.targets, ((z > 0).mean((1, 2)) > 0.5).astype(int))
    for target, sign in ((0, -1), (1, 1)):
        record = tfxai.gradient(model, score=region()).explain(X, target, verbose=0)
        expected = [(sign * row)[sign * row > 0].mean() for row in z]
        np.testing.assert_allclose(record.scores, expected, rtol=1e-5)


def test_the_best_box_and_its_class_are_predicted():
    model = two_headed()
    boxes = model(X)["boxes"].numpy()
    record = tfxai.gradient(model, score=output("boxes", box())).explain(X, verbose=0)
    np.testing.assert_array_equal(record.targets, boxes.max(1).argmax(-1))
    np.testing.assert_allclose(record.scores, boxes.max((1, 2)), rtol=1e-5)


def test_a_box_of_a_softmax_is_the_most_probable_one_not_the_one_of_largest_logit():
    logits = np.array([[[9.0, 8.0, 8.0], [1.0, 2.0, -5.0]]], "float32")
    inputs = keras.Input((2, 3))
    model = keras.Model(inputs, keras.layers.Softmax()(inputs))
    record = tfxai.gradient(model, score=box()).explain(logits, verbose=0)
    assert record.targets == 1
    np.testing.assert_allclose(record.scores, 8)  # the largest logit of class 1
    record = tfxai.gradient(model, score=box(score=probability)).explain(logits, 1, verbose=0)
    np.testing.assert_array_equal(record.attributions[0, 0], 0)
    assert record.attributions[0, 1].any()


METHODS = {
    "integrated_gradients": lambda m, s: tfxai.integrated_gradients(m, steps=6, score=s),
    "adaptive": lambda m, s: tfxai.integrated_gradients(m, tolerance=0.05, max_steps=40, score=s),
    "smoothgrad": lambda m, s: tfxai.smoothgrad(m, samples=4, noise_level=0.5, score=s),
    "smoothed": lambda m, s: tfxai.smoothgrad(
        tfxai.integrated_gradients(m, steps=3, score=s), samples=3, noise_level=0.5
    ),
    "noisegrad": lambda m, s: tfxai.noisegrad(m, samples=3, epsilon=0.5, score=s),
    "rise": lambda m, s: tfxai.rise(m, masks=12, grid=3, score=s),
    "occlusion": lambda m, s: tfxai.occlusion(m, patch=3, score=s),
    "igos": lambda m, s: tfxai.igos(
        m, resolution=4, steps=3, iterations=2, lambda1=1e-3, lambda2=1e-2, score=s
    ),
    "meaningful_perturbation": lambda m, s: tfxai.meaningful_perturbation(
        m, resolution=4, iterations=3, score=s
    ),
    "guided_grad_cam": lambda m, s: tfxai.guided_grad_cam(m, score=s),
    "excitation_backprop": lambda m, s: tfxai.excitation_backprop(m, score=s),
    "expected_gradients": lambda m, s: tfxai.expected_gradients(m, X[1:], samples=3, score=s),
}


@pytest.mark.parametrize(
    "name", quick(METHODS, "smoothed", "rise", "occlusion", "excitation_backprop")
)
@pytest.mark.filterwarnings("ignore")
def test_the_predicted_region_stays_while_a_method_changes_the_input(name):
    """It is that of the example itself: the same maps as by an array for each example."""
    model = two_headed()
    targets = targets_that_are_predicted(model)
    explainer = METHODS[name](model, output("mask", region()))
    record = explainer.explain(X, targets, verbose=0)
    cut = explainer.explain(X, targets, verbose=0, batch_size=3)
    np.testing.assert_allclose(cut.attributions, record.attributions, rtol=1e-3, atol=1e-5)
    i = 2
    mask = predicted_region(model, targets)[i]
    one = METHODS[name](model, output("mask", region(mask))).explain(
        X[i : i + 1], targets[i], verbose=0
    )
    np.testing.assert_allclose(record.scores[i], one.scores[0], rtol=1e-5)
    np.testing.assert_allclose(record.attributions[i], one.attributions[0], rtol=1e-3, atol=1e-5)
    assert record.attributions[i].any()


@pytest.mark.parametrize("policy", quick(["float32", "float64", "mixed_float16"], "mixed_float16"))
def test_parts_are_saved_exported_and_run_in_every_precision(policy, tmp_path):
    model = two_headed(policy)
    score = output("mask", region(score=margin))
    explainer = tfxai.gradient(model, score=score)
    record = explainer.explain(X, verbose=0)
    double = two_headed("float64")
    double.set_weights(model.get_weights())
    expected = tfxai.gradient(double, score=score).explain(X, verbose=0)
    if policy != "mixed_float16":
        np.testing.assert_array_equal(record.targets, expected.targets)
        np.testing.assert_allclose(record.scores, expected.scores, rtol=1e-4)
        np.testing.assert_allclose(record.attributions, expected.attributions, rtol=1e-3, atol=1e-6)
    assert record.attributions.dtype == (np.float64 if policy == "float64" else np.float32)
    explainer.save(tmp_path / "explainer.keras")
    loaded = keras.saving.load_model(tmp_path / "explainer.keras")
    assert loaded.settings == explainer.settings
    assert loaded.settings["score"] == "output('mask', region(score=margin))"
    np.testing.assert_array_equal(loaded(X), explainer(X))
    tfxai.export(model, tmp_path / "served", {"gradient": explainer})
    served = tf.saved_model.load(tmp_path / "served")
    answer = served.explain_gradient(tf.constant(X, tf.as_dtype(model.input.dtype)))
    np.testing.assert_allclose(answer["attributions"], explainer(X), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(answer["targets"], record.targets)
    np.testing.assert_allclose(answer["scores"], record.scores, rtol=1e-4)
    inputs = keras.Input((8, 6, 3), dtype=model.input.dtype)
    both = keras.Model(inputs, {"why": explainer(inputs), **model(inputs)})
    np.testing.assert_allclose(both(X)["why"], explainer(X), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "score",
    [
        output(("seen", 1, "label"), probability),
        output("boxes", position(-1, margin)),
        region(MASK, reduction="sum"),
        region(score=scores.log_probability),
        box(score=scores.cross_entropy),
        unit((3, 1)),
        unit(()),
    ],
    ids=repr,
)
def test_a_score_is_saved_with_all_that_it_is(score):
    config = keras.saving.serialize_keras_object(score)
    loaded = keras.saving.deserialize_keras_object(config)
    assert repr(loaded) == repr(score)
    if isinstance(score, type(region())) and score.mask is not None:
        np.testing.assert_array_equal(loaded.mask, score.mask)
    if "array" not in repr(score):
        assert repr(eval(repr(score), vars(scores))) == repr(score)
