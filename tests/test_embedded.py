"""Text models are explained at their embedding: laws in float64, padding, inputs that are held."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests import text_models
from tests.text_models import MASK, PAD, like_keras_hub, part, sequential
from tests.thorough import quick

L = keras.layers
TARGETS = [2, 0, 1]
IDS = np.array([[9, 2, 21, 5, 0, 0, 0], [22, 7, 7, 1, 14, 2, 6], [8, 4, 0, 0, 0, 0, 0]])


def recurrent():
    return sequential(L.LSTM(4, dtype="float64"))


MODELS = {"hub": (like_keras_hub, text_models.hub_inputs), "lstm": (recurrent, lambda: IDS)}


def thorough(*cases):
    return [pytest.param(case, marks=pytest.mark.thorough) for case in cases]


@pytest.fixture(scope="module", params=["hub", *thorough("lstm")])
def case(request):
    """A model, its inputs, and the two parts."""
    make, inputs = MODELS[request.param]
    model = make()
    return model, inputs(), tfxai.embedded(model)


def with_ids(inputs, ids):
    return {**inputs, "token_ids": ids} if isinstance(inputs, dict) else ids


def scores_of(model, inputs):
    return model(inputs).numpy()[np.arange(len(TARGETS)), TARGETS]


def test_the_parts_make_the_whole(case):
    model, inputs, text = case
    vectors = text.vectors(inputs)
    assert vectors.shape == (3, 7, text.embedding_of(0).shape[0])
    np.testing.assert_array_equal(vectors, text.embedding_of(IDS))
    np.testing.assert_array_equal(text.is_padding(inputs), IDS == PAD)
    np.testing.assert_allclose(text.head([vectors, inputs]), model(inputs), rtol=1e-12)


def test_maps_of_a_path_sum_to_the_change_from_the_baseline_token(case):
    """The baseline of each text is the same text with another token in place of its own."""
    model, inputs, text = case
    at_head = tfxai.integrated_gradients(text.head, baseline=text.embedding_of(MASK), steps=80)
    record = text.explained_by(at_head).explain(inputs, TARGETS, verbose=0)
    masked = with_ids(inputs, np.where(IDS == PAD, PAD, MASK))
    change = scores_of(model, inputs) - scores_of(model, masked)
    assert record.attributions.shape == (3, 7)
    assert record.attributions.dtype == np.float64
    np.testing.assert_allclose(record.attributions.sum(1), change, rtol=1e-5)
    assert not record.attributions[IDS == PAD].any()
    by_vectors = record.diagnostics["vector_attributions"]
    np.testing.assert_allclose(by_vectors.sum(-1), record.attributions, rtol=1e-12)
    assert (record.diagnostics["completeness_gap"] < 1e-5).all()
    np.testing.assert_allclose(record.scores, scores_of(model, inputs), rtol=1e-12)


def test_gradients_are_those_of_the_table_of_the_embedding(case):
    """A token's row of the table moves all of its places at once."""
    model, inputs, text = case
    record = text.explained_by(tfxai.gradient(text.head)).explain(inputs, TARGETS, verbose=0)
    table = next(w for w in model.weights if w.shape[0] == text_models.WORDS)
    before, step = table.numpy(), 1e-5
    for token, place in ((7, 1), (2, 0), (22, 4), (8, 3)):
        scores = []
        for sign in (1, -1):
            moved = before.copy()
            moved[token, place] += sign * step
            table.assign(moved)
            scores.append(scores_of(model, inputs))
        table.assign(before)
        expected = (scores[0] - scores[1]) / (2 * step)
        slopes = record.diagnostics["vector_attributions"][..., place]
        found = np.where(token == IDS, slopes, 0).sum(1)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


DETERMINISTIC = {
    "gradient": lambda head: tfxai.gradient(head),
    "gradient_times_input": lambda head: tfxai.gradient_times_input(head),
    "integrated_gradients": lambda head: tfxai.integrated_gradients(head, steps=9),
    "smoothgrad": lambda head: tfxai.smoothgrad(head, samples=5),
    "adaptgrad": lambda head: tfxai.adaptgrad(head, bounds=(-4, 4), samples=4),
    "occlusion": lambda head: tfxai.occlusion(head, patch=1, stride=1),
    "S-IG": lambda head: tfxai.integrated_gradients(tfxai.smoothgrad(head, samples=2), steps=3),
}


@pytest.mark.parametrize("method", quick(list(DETERMINISTIC), "gradient", "smoothgrad"))
def test_a_text_is_explained_alike_whatever_is_beside_and_behind_it(case, method):
    """Padding neither has a map nor changes those of the text, nor do other texts of the batch."""
    _, inputs, text = case
    explainer = text.explained_by(DETERMINISTIC[method](text.head))
    together = explainer(inputs, TARGETS).numpy()
    assert together.shape == IDS.shape
    assert (np.abs(together[IDS != PAD]) > 1e-9).all()
    assert not together[IDS == PAD].any()
    for i, length in ((2, 2), (0, 4)):
        alone = explainer(part(inputs, slice(i, i + 1), length), TARGETS[i]).numpy()
        np.testing.assert_allclose(alone, together[i : i + 1, :length], rtol=1e-9, atol=1e-15)


def test_occlusion_is_the_drop_of_the_score_with_another_token(case):
    model, inputs, text = case
    at_head = tfxai.occlusion(text.head, patch=1, stride=1, baseline=text.embedding_of(MASK))
    found = text.explained_by(at_head)(inputs, TARGETS).numpy()
    for place in (0, 1, 5):
        ids = IDS.copy()
        ids[:, place] = np.where(ids[:, place] == PAD, PAD, MASK)
        drop = scores_of(model, inputs) - scores_of(model, with_ids(inputs, ids))
        np.testing.assert_allclose(found[:, place], drop, rtol=1e-9, atol=1e-15)


def test_the_predicted_classes_are_those_of_the_model(case):
    model, inputs, text = case
    record = text.explained_by(tfxai.gradient(text.head)).explain(inputs, verbose=0)
    np.testing.assert_array_equal(record.targets, model(inputs).numpy().argmax(1))


@pytest.mark.thorough
def test_a_saved_one_gives_the_same_maps(case, tmp_path):
    _, inputs, text = case
    at_head = tfxai.integrated_gradients(text.head, baseline=text.embedding_of(MASK), steps=5)
    explainer = text.explained_by(at_head, reduce="norm")
    expected = explainer(inputs, TARGETS)
    explainer.save(tmp_path / "explainer.keras")
    loaded = keras.saving.load_model(tmp_path / "explainer.keras")
    np.testing.assert_array_equal(loaded(inputs, TARGETS), expected)


def test_a_record_is_saved(case, tmp_path):
    _, inputs, text = case
    record = text.explained_by(tfxai.smoothgrad(text.head, samples=3)).explain(inputs, verbose=0)
    loaded = tfxai.Explanation.load(record.save(tmp_path / "maps.npz"))
    np.testing.assert_array_equal(loaded.attributions, record.attributions)
    np.testing.assert_array_equal(record.inputs, IDS)
    assert loaded.settings["base"]["method"] == "smoothgrad"


@pytest.mark.thorough
def test_a_model_predicts_and_explains():
    model, inputs = like_keras_hub(), text_models.hub_inputs()
    text = tfxai.embedded(model)
    explainer = text.explained_by(tfxai.integrated_gradients(text.head, steps=5))
    given = {name: keras.Input((7,), dtype="int32", name=name) for name in inputs}
    both = keras.Model(given, {"prediction": model(given), "why": explainer(given)})
    np.testing.assert_allclose(both(inputs)["why"], explainer(inputs), rtol=1e-9)
    np.testing.assert_allclose(explainer.predict(inputs, verbose=0), explainer(inputs), rtol=1e-9)


def test_padding_by_its_id_is_held_where_the_model_computes_with_it():
    """A convolution sees padding. It stays as it is, and only the other tokens have maps."""
    model = sequential(
        L.Conv1D(4, 3, padding="same", activation="tanh", dtype="float64"),
        L.GlobalAveragePooling1D(dtype="float64"),
        mask_zero=False,
        length=7,
    )
    assert not tfxai.embedded(model).is_padding(IDS).any()
    text = tfxai.embedded(model, padding=PAD)
    at_head = tfxai.integrated_gradients(text.head, baseline=text.embedding_of(MASK), steps=60)
    found = text.explained_by(at_head)(IDS, TARGETS).numpy()
    masked = np.where(IDS == PAD, PAD, MASK)
    np.testing.assert_allclose(
        found.sum(1), scores_of(model, IDS) - scores_of(model, masked), rtol=1e-5
    )
    assert not found[IDS == PAD].any()
    assert found[IDS != PAD].all()


def two_texts():
    """One embedding of two texts, whose inputs are not in alphabetical order."""
    keras.utils.set_random_seed(0)
    texts = {n: keras.Input((4,), dtype="int32", name=n) for n in ("question", "answer")}
    words = L.Embedding(9, 3, mask_zero=True, name="words", dtype="float64")
    pooled = [L.GlobalAveragePooling1D(dtype="float64")(words(x)) for x in texts.values()]
    x = L.Dense(5, "tanh", dtype="float64")(L.Concatenate(dtype="float64")(pooled))
    return keras.Model(texts, L.Dense(2, dtype="float64")(x))


def test_one_call_of_a_shared_embedding_is_explained():
    model = two_texts()
    inputs = {
        "answer": np.array([[8, 1, 0, 0], [2, 3, 4, 4]]),
        "question": np.array([[5, 6, 7, 0], [1, 0, 0, 0]]),
    }
    with pytest.raises(ValueError, match=r"'words@1' reads 'answer', layer='words@2' reads"):
        tfxai.embedded(model)
    for layer, name in (("words@1", "answer"), ("words@2", "question")):
        text = tfxai.embedded(model, layer)
        at_head = tfxai.integrated_gradients(text.head, baseline=text.embedding_of(2), steps=50)
        record = text.explained_by(at_head).explain(inputs, 1, verbose=0)
        other = {**inputs, name: np.where(inputs[name] == 0, 0, 2)}
        change = (model(inputs) - model(other)).numpy()[:, 1]
        np.testing.assert_allclose(record.attributions.sum(1), change, rtol=1e-5, atol=1e-9)
        np.testing.assert_array_equal(record.inputs, inputs[name])
        assert not record.attributions[inputs[name] == 0].any()


class TokenAndPosition(L.Layer):
    """As in the examples of Keras: two embeddings, of which one reads places."""

    def __init__(self, **options):
        super().__init__(**options)
        self.tokens = L.Embedding(text_models.WORDS, 5, mask_zero=True, name="tokens")
        self.places = L.Embedding(7, 5, name="places")

    def call(self, ids):
        return self.tokens(ids) + self.places(keras.ops.arange(keras.ops.shape(ids)[-1]))


class Classifier(keras.Model):
    """A subclassed model, whose mask goes by hand."""

    def __init__(self, **options):
        super().__init__(**options)
        self.embedding = TokenAndPosition(name="both")
        self.dense = L.Dense(3)

    def call(self, ids):
        weights = keras.ops.cast(ids != 0, self.compute_dtype)[..., None]
        pooled = keras.ops.sum(keras.ops.tanh(self.embedding(ids)) * weights, 1)
        return self.dense(pooled / keras.ops.sum(weights, 1))


@pytest.mark.parametrize("layer", quick([None, "both"], "both"))
def test_a_subclassed_model_behind_an_input(layer):
    keras.utils.set_random_seed(0)
    tokens = keras.Input((7,), dtype="int32")
    model = keras.Model(tokens, Classifier()(tokens))
    text = tfxai.embedded(model, layer, padding=PAD)
    masked = np.where(IDS == PAD, PAD, MASK)
    if layer is None:
        baseline = text.embedding_of(MASK)
    else:
        with pytest.raises(ValueError, match="TokenAndPosition, whose vectors may depend"):
            text.embedding_of(MASK)
        baseline = text.vectors(np.full((1, 7), MASK))[0]
    at_head = tfxai.integrated_gradients(text.head, baseline=baseline, steps=50)
    explainer = text.explained_by(at_head)
    for rows in (slice(0, 1), slice(0, 3)):
        found = explainer(IDS[rows], TARGETS[rows])
        change = (scores_of(model, IDS) - scores_of(model, masked))[rows]
        np.testing.assert_allclose(found.numpy().sum(1), change, rtol=1e-3, atol=1e-5)


@pytest.mark.thorough
def test_half_precision_has_maps_in_single_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = like_keras_hub(dtype=None)
    finally:
        keras.config.set_dtype_policy("float32")
    full = like_keras_hub(dtype="float32")
    full.set_weights(half.get_weights())
    maps = []
    for model in (half, full):
        text = tfxai.embedded(model)
        explainer = text.explained_by(tfxai.integrated_gradients(text.head, steps=20))
        maps.append(explainer(text_models.hub_inputs(), TARGETS))
        assert maps[-1].dtype == tf.float32
    scale = np.abs(maps[1]).max()
    np.testing.assert_allclose(maps[0], maps[1], atol=0.05 * scale)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "make",
    [
        lambda head: tfxai.guided_backprop(head, extend=True),
        lambda head: tfxai.grad_cam(head),
        lambda head: tfxai.cafo(head),
        lambda head: tfxai.caso(head, rank=5),
        lambda head: tfxai.noisegrad(head, samples=2),
        lambda head: tfxai.vargrad(head, samples=3),
        lambda head: tfxai.rise(head, masks=20, grid=3),
        lambda head: tfxai.expected_gradients(head, np.zeros([2, 1, 6]), samples=3),
    ],
    ids=["guided", "cam", "cafo", "caso", "noisegrad", "vargrad", "rise", "expected"],
)
def test_other_methods_explain_tokens(make):
    text = tfxai.embedded(like_keras_hub())
    record = text.explained_by(make(text.head)).explain(
        text_models.hub_inputs(), TARGETS, verbose=0
    )
    assert np.isfinite(record.attributions).all()
    assert record.attributions.any(1).all()
    assert not record.attributions[IDS == PAD].any()


@pytest.mark.thorough
def test_rules_report_what_they_do_to_the_head():
    text = tfxai.embedded(like_keras_hub())
    explainer = text.explained_by(tfxai.guided_backprop(text.head))
    report = explainer.rule_report(text_models.hub_inputs())
    assert any("transformer_0" in row.operation for row in report)
    assert explainer.rule_report() == report  # The model has no more than 16 positions.
    record = explainer.explain(text_models.hub_inputs(), TARGETS, verbose=0)
    assert record.settings["extended"]


def test_norms_of_gradients():
    text = tfxai.embedded(recurrent())
    record = text.explained_by(tfxai.gradient(text.head)).explain(IDS, TARGETS, verbose=0)
    lengths = np.linalg.norm(record.diagnostics["vector_attributions"], axis=-1)
    np.testing.assert_allclose(record.attributions, lengths, rtol=1e-12)


def test_what_cannot_be_cut_is_refused():
    table = keras.Sequential([keras.Input((4,)), L.Dense(3)])
    with pytest.raises(ValueError, match=r"no keras\.layers\.Embedding that reads an input"):
        tfxai.embedded(table)
    with pytest.raises(ValueError, match=r"declares no inputs; put keras\.Input in front"):
        tfxai.embedded(Classifier())
    with pytest.raises(TypeError, match=r"expected a keras\.Model"):
        tfxai.embedded("model.keras")
    model = recurrent()
    with pytest.raises(ValueError, match="perhaps words"):
        tfxai.embedded(model, "word")
    with pytest.raises(ValueError, match="padding='mask': no input has this name, but"):
        tfxai.embedded(model, padding="mask")
    with pytest.raises(TypeError, match=r"padding=0\.0: expected a token id"):
        tfxai.embedded(model, padding=0.0)
    flat = tfxai.embedded(model, model.layers[1].name)
    with pytest.raises(ValueError, match="expected a vector for each token"):
        flat.vectors(IDS)


def test_explainers_that_cannot_explain_tokens_are_refused():
    model = recurrent()
    text = tfxai.embedded(model)
    with pytest.raises(ValueError, match=r"gradient explains sequential.*, not text\.head"):
        text.explained_by(tfxai.gradient(model))
    with pytest.raises(TypeError, match=r"expected an explainer of text\.head"):
        text.explained_by(text.head)
    explainer = text.explained_by(tfxai.gradient(text.head))
    with pytest.raises(ValueError, match="by_tokens cannot be built upon: token ids cannot be"):
        tfxai.smoothgrad(explainer)
    with pytest.raises(ValueError, match=r"give its explainer to text\.explained_by"):
        tfxai.gradient(text.head)(text.vectors(IDS), 0)
    with pytest.raises(ValueError, match=r"text = tfxai\.embedded\(model\)"):
        tfxai.gradient(model)(IDS, 0)
    with pytest.raises(ValueError, match="reduce='mean': expected one of"):
        text.explained_by(tfxai.gradient(text.head), reduce="mean")
