"""What else is asked of models with several outputs or with classes at many places."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.methods import BUILDERS
from tests.segmenters import images, segmenter, tagger, two_headed
from tests.thorough import quick
from tfxai import scores
from tfxai.scores import box, cross_entropy, logit, margin, output, position, region, unit

L = keras.layers
X = images()
SERIES = np.random.default_rng(3).normal(size=(4, 7, 4)).astype("float32")


def advised(message):
    """The scores that an error names, as they stand there."""
    text = message.split("score=", 1)[1].split("; or explain")[0]
    return [eval(part.rstrip("."), {"tfxai": tfxai}) for part in text.split(" or ")]


@pytest.mark.parametrize(
    ("build", "inputs"),
    [
        (two_headed, X),
        (lambda: two_headed(form=list), X),
        (lambda: two_headed(form=tuple), X),
        (segmenter, X),
        (tagger, SERIES),
        pytest.param(lambda: tagger(recurrent=True), SERIES, marks=pytest.mark.thorough),
    ],
    ids=["dict", "list", "nested", "segmenter", "tagger", "recurrent"],
)
def test_an_error_names_two_scores_that_can_be_pasted(build, inputs):
    model = build()
    for targets in (None, 0):
        with pytest.raises(ValueError, match=r"score=tfxai\.scores") as error:
            tfxai.gradient(model)(inputs, targets)
        found = advised(str(error.value))
        assert len(found) == 2
        assert repr(found[0]) != repr(found[1])
    for score in found:
        record = tfxai.gradient(model, score=score).explain(inputs, verbose=0)
        assert record.attributions.any()


OF_REFERENCES = ("expected_gradients", "smoothed_eg", "references")
"""Builders with references of another size than these inputs, which they refuse first."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", quick(BUILDERS, "smoothgrad", "rise", "cafo", "pattern_net"))
def test_every_method_names_them(name):
    if name in ("random_attribution", "noisy_patterns", *OF_REFERENCES):
        return
    model = two_headed()
    with pytest.raises(ValueError, match=r"several outputs.*tfxai.scores.output\('label'\)"):
        BUILDERS[name](model)(X, 1)


@pytest.mark.parametrize(
    ("form", "key"),
    [(dict, "label"), (list, 1), (list, -2), (tuple, ("seen", 1, "label"))],
)
def test_an_output_is_named_by_its_key_or_its_place(form, key):
    model, expected = two_headed(form=form), tfxai.gradient(two_headed(), score=output("label"))
    explainer = tfxai.gradient(model, score=output(key))
    np.testing.assert_allclose(explainer(X), expected(X), rtol=1e-5)
    with pytest.raises(ValueError, match="targets: 5 is out of range, expected 0 to 4"):
        explainer(X, 5)


def test_a_score_of_ones_own_reads_one_output():
    def squares(outputs, targets):
        return tf.gather(outputs, targets, axis=1, batch_dims=1) ** 2

    model = two_headed()
    record = tfxai.gradient(model, score=output("label", squares)).explain(
        X, [4, 0, 1, 2], verbose=0
    )
    probabilities = model(X)["label"].numpy()
    np.testing.assert_allclose(record.scores, probabilities[range(4), [4, 0, 1, 2]] ** 2, rtol=1e-5)
    assert record.head is None


REFUSED = {
    "no such output": (
        output("lable"),
        "no such output, but 'mask', 'label', 'boxes'.*perhaps label",
    ),
    "no such place": (output(("mask", 0)), r"output\(0\) of a single output"),
    "no classes": (output("mask"), r"\(None, 8, 6, 4\).*tfxai.scores.region\(\)"),
    "no places": (output("label", region()), "needs outputs .* of three axes or more"),
    "no boxes": (output("label", box()), "needs outputs .* of three axes or more"),
    "not chosen": (position(0), "several outputs"),
    "region, not chosen": (region(), "several outputs"),
    "beyond": (output("mask", position((8, 0))), "8 is out of range, expected -8 to 7"),
    "too deep": (output("label", position((0, 0))), "needs outputs with 2 axes"),
    "another size": (output("mask", region(np.ones([6, 8]))), r"mask has shape \[6, 8\]"),
    "for each example": (
        output("mask", region(np.ones([4, 8, 6]))),
        r"one for each example.*region\(mask\[i\]\), of shape \[8, 6\]",
    ),
    "no number": (output("boxes", unit(3)), r"no single number.*unit\(\(0, 0\)\)"),
    "unit beyond": (output("label", unit(5)), "5 is out of range, expected -5 to 4"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_the_model_is_refused(name):
    score, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        tfxai.gradient(two_headed(), score=score)(X, 0)


def test_what_no_model_fits_is_refused():
    with pytest.raises(ValueError, match="has nothing in it"):
        region(np.zeros([3, 3]))
    with pytest.raises(ValueError, match="weights of at least 0"):
        region([[1.0, np.nan]])
    with pytest.raises(TypeError, match="expected booleans or numbers"):
        region([["a"]])
    with pytest.raises(ValueError, match="reduction='max'"):
        region(reduction="max")
    with pytest.raises(TypeError, match=r"write the part around it"):
        region(score=position(0))
    with pytest.raises(TypeError, match="expected a score of rows"):
        box(score=unit(0))
    with pytest.raises(TypeError, match=r"index=1.5"):
        position(1.5)
    with pytest.raises(TypeError, match="index=True"):
        unit(True)
    with pytest.raises(TypeError, match="score='logit'"):
        output("label", "logit")
    with pytest.raises(TypeError, match="key=None"):
        output(None)


def test_a_class_that_is_predicted_nowhere_has_no_region():
    model = segmenter()
    predicted = [set(c.ravel()) for c in model(X).numpy().argmax(-1)]
    missing = [i for i, classes in enumerate(predicted) if 2 not in classes]
    assert 0 < len(missing) < 4
    explainer = tfxai.integrated_gradients(model, score=region(), steps=3)
    indices = " ".join(map(str, missing))
    for ask in (explainer, lambda x, t: explainer.explain(x, t, verbose=0)):
        with pytest.raises(ValueError, match=rf"predicts the target nowhere.*\[{indices}\]"):
            ask(X, 2)
    seen = [i for i in range(4) if i not in missing]
    assert explainer(X[seen], 2).numpy().any()


def test_a_unit_has_no_classes():
    explainer = tfxai.gradient(two_headed(), score=output("boxes", unit((3, 2))))
    record = explainer.explain(X, verbose=0)
    np.testing.assert_array_equal(record.targets, 0)
    np.testing.assert_array_equal(explainer(X, 0), record.attributions)
    with pytest.raises(ValueError, match="targets: 1 is out of range, expected 0"):
        explainer(X, 1)


def test_sequences_of_any_length():
    model = tagger()
    explainer = tfxai.gradient(model, score=position(-1))
    for length in (7, 3):
        series = SERIES[:, :length]
        record = explainer.explain(series, verbose=0)
        np.testing.assert_array_equal(record.targets, model(series)[:, -1].numpy().argmax(-1))
    early = tfxai.gradient(model, score=position(1))(SERIES).numpy()
    assert early[:, :2].any()
    assert not early[:, 2:].any()
    with pytest.raises(ValueError, match=r"position\(5\) is out of range.*3"):
        tfxai.gradient(model, score=position(5))(SERIES[:, :3], 0)
    with pytest.raises(ValueError, match="mask has shape"):
        tfxai.gradient(model, score=region(np.ones(5)))(SERIES, 0)
    ends = np.eye(7)[0] + np.eye(7)[-1]
    means = tfxai.gradient(model, score=region(ends)).explain(SERIES, 1, verbose=0)
    single = [tfxai.gradient(model, score=position(t))(SERIES, 1).numpy() for t in (0, -1)]
    np.testing.assert_allclose(means.attributions, np.mean(single, 0), rtol=1e-3, atol=1e-6)


def test_probabilities_written_by_hand_are_refused_in_the_output_that_is_read():
    inputs = keras.Input((5, 4))
    z = L.Dense(3)(inputs)
    by_hand = keras.ops.exp(z) / keras.ops.sum(keras.ops.exp(z), -1, keepdims=True)
    model = keras.Model(inputs, {"p": by_hand, "z": z})
    x = SERIES[:, :5]
    with pytest.raises(ValueError, match="outputs are probabilities, but no softmax"):
        tfxai.gradient(model, score=output("p", region()))(x)
    assert tfxai.gradient(model, score=output("z", region()))(x).numpy().any()
    with pytest.raises(ValueError, match="outputs are probabilities, but no softmax"):
        tfxai.logits(model)


def test_a_softmax_over_all_places_is_no_head():
    inputs = keras.Input((5, 4))
    joined = L.Reshape((5, 4))(L.Softmax()(L.Flatten()(inputs)))
    model = keras.Model(inputs, joined)
    x = SERIES[:, :5]
    record = tfxai.gradient(model, score=position(2)).explain(x, 1, verbose=0)
    assert record.head is None
    np.testing.assert_allclose(record.scores, model(x)[:, 2, 1], rtol=1e-5)


def test_logits_of_all_outputs():
    model = two_headed()
    logits = tfxai.logits(model)
    expected, outputs = model(X), logits(X)
    assert list(outputs) == list(expected)
    for name in ("mask", "label"):
        np.testing.assert_allclose(tf.nn.softmax(outputs[name]), expected[name], rtol=1e-5)
    np.testing.assert_array_equal(outputs["boxes"], expected["boxes"])
    np.testing.assert_allclose(
        tf.nn.softmax(tfxai.logits(segmenter())(X)), segmenter()(X), rtol=1e-5
    )


PARTS = ("label", "pixel", "best box")


@pytest.mark.parametrize(
    ("method", "part"),
    quick(
        [(method, part) for method in (tfxai.cafo, tfxai.caso) for part in PARTS],
        *((tfxai.cafo, part) for part in PARTS),
        (tfxai.caso, "label"),
    ),
)
def test_cafo_and_caso_of_a_part_are_those_of_a_model_of_this_part(method, part):
    model, x, target = two_headed(), X[:1], 1
    boxes = model(x)["boxes"][0].numpy()
    losses = np.log(np.exp(boxes).sum(-1)) - boxes[:, target]
    logits = two_headed(head=None)
    logits.set_weights(model.get_weights())
    score, outputs = {
        "label": (output("label", cross_entropy), logits.output["label"]),
        "pixel": (
            output("mask", position((2, 3), cross_entropy)),
            logits.output["mask"][:, 2, 3],
        ),
        "best box": (
            output("boxes", box(score=cross_entropy)),
            logits.output["boxes"][:, int(losses.argmax())],
        ),
    }[part]
    alone = keras.Model(logits.inputs, outputs)
    expected = method(alone, lambda1=1e-4).explain(x, target, verbose=0)
    found = method(model, lambda1=1e-4, score=score).explain(x, target, verbose=0)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4)
    np.testing.assert_allclose(found.attributions, expected.attributions, rtol=1e-3, atol=1e-6)
    assert found.attributions.any()


@pytest.mark.parametrize("method", [tfxai.cafo, tfxai.caso])
def test_cafo_and_caso_explain_the_cross_entropy_of_one_row_alone(method):
    for score in (logit, output("label"), output("mask", region(score=cross_entropy)), unit(0)):
        with pytest.raises(ValueError, match=r"expected tfxai.scores.cross_entropy"):
            method(two_headed(), score=score)


@pytest.mark.parametrize(
    "options",
    quick(
        [{"samples": 3}, {"hessian": "products"}, {"hessian": "krylov"}], {"hessian": "products"}
    ),
    ids=str,
)
def test_noisy_and_iterated_caso_keep_the_unit_of_a_sigmoid_head(options):
    """Each look at the network is at the target's unit, not at unit 1."""
    keras.utils.set_random_seed(4)
    hidden = L.Dense(6, activation="tanh")
    head = L.Dense(4, activation="sigmoid")
    inputs = keras.Input((5,))
    model = keras.Model(inputs, head(hidden(inputs)))
    kernel, bias = head.get_weights()
    alone = L.Dense(1, activation="sigmoid")
    single = keras.Model(inputs, alone(hidden(inputs)))
    alone.set_weights([kernel[:, 3:], bias[3:]])
    x = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    options = {"lambda1": 1e-3, **options}
    expected = tfxai.caso(single, **options)(x, 1)
    np.testing.assert_allclose(tfxai.caso(model, **options)(x, 3), expected, rtol=1e-3, atol=1e-6)


def test_excitation_begins_at_the_places_of_a_region():
    keras.utils.set_random_seed(0)
    options = {"use_bias": False, "kernel_initializer": keras.initializers.RandomUniform(0, 1)}
    layers = [L.Conv2D(3, 3, activation="relu", **options), L.Conv2D(4, 1, **options)]
    model = keras.Sequential([keras.Input((8, 6, 3)), *layers])
    places = np.zeros([6, 4])
    places[1:3, 2] = 1
    maps = tfxai.excitation_backprop(model, score=region(places))(np.abs(X), TARGETS).numpy()
    np.testing.assert_allclose(maps.sum((1, 2, 3)), 1, rtol=1e-4)
    assert maps[:, 1:5, 2:5].any()
    maps[:, 1:5, 2:5] = 0
    assert not maps.any()
    for score in (margin, region(score=scores.probability)):
        with pytest.raises(ValueError, match="begins at the target's logit"):
            tfxai.excitation_backprop(model, score=score)


TARGETS = [3, 0, 1, 2]


def test_metrics_follow_the_region_of_the_image_as_it_is_given():
    model = two_headed()
    classes = model(X)["mask"].numpy().argmax(-1)
    targets = [int(np.bincount(c.ravel()).argmax()) for c in classes]
    maps = tfxai.integrated_gradients(model, score=output("mask", region()))(X, targets).numpy()
    gaps = tfxai.metrics.completeness(model, X, maps, targets, score=output("mask", region()))
    assert (gaps < 0.05).all()
    heat = np.abs(maps).sum(-1)
    curve = tfxai.metrics.deletion(model, X, heat, targets, step=12, score=output("mask", region()))
    segments = keras.Model(model.inputs, model.output["mask"])
    for i, target in enumerate(targets):
        one = tfxai.metrics.deletion(
            segments,
            X[i : i + 1],
            heat[i : i + 1],
            target,
            step=12,
            score=region(classes[i] == target),
        )
        np.testing.assert_allclose(curve.scores[i], one.scores[0], rtol=1e-4)
    with pytest.raises(ValueError, match=r"several outputs.*score="):
        tfxai.metrics.deletion(model, X, heat, targets)
    absent = next(t for t in range(4) if any(t not in c for c in classes))
    with pytest.raises(ValueError, match="predicts the target nowhere"):
        tfxai.metrics.deletion(model, X, heat, absent, score=output("mask", region()))


def test_metrics_take_functions_with_several_outputs():
    def function(x):
        return {"zz": x.mean((1, 2)), "aa": x[..., :2]}

    model = keras.Model(
        i := keras.Input((8, 6, 3)), {"zz": keras.ops.mean(i, (1, 2)), "aa": i[..., :2]}
    )
    for score in (output("zz"), output("aa", region())):
        found, expected = (
            tfxai.metrics.deletion(m, X, X[..., 0], [1, 0, 1, 0], step=12, score=score).scores
            for m in (function, model)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_patterns_of_a_model_with_several_outputs():
    model = two_headed()
    patterns = tfxai.fit_patterns(model, images(60, seed=2), verbose=0)
    label = keras.Model(model.inputs, model.output["label"])
    alone = tfxai.fit_patterns(label, images(60, seed=2), verbose=0)
    assert set(alone) < set(patterns)
    found = tfxai.pattern_attribution(model, patterns, score=output("label"))(X, TARGETS)
    expected = tfxai.pattern_attribution(label, alone)(X, TARGETS)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_subclassed_models_of_several_outputs():
    class Both(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = two_headed()

        def call(self, x):
            outputs = self.inner(x)
            return {"zz": outputs["label"], "aa": (outputs["mask"],)}

    both = Both()
    score = output(("aa", 0), region())
    expected = tfxai.gradient(both.inner, score=output("mask", region()))(X)
    np.testing.assert_allclose(tfxai.gradient(both, score=score)(X), expected, rtol=1e-5)
    np.testing.assert_allclose(tfxai.gradient(both, score=score)(X[:1]), expected[:1], rtol=1e-5)
