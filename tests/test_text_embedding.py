"""The example on token ids: methods behind an embedding, and the error in front of one."""

import numpy as np
import pytest

import tfxai
from tests.examples import script

example = script("text_embedding")

SENTENCES, LABELS = example.corpus(100, seed=1)
IDS = example.encode(SENTENCES)


@pytest.fixture(scope="module")
def model():
    return example.trained()


@pytest.fixture(scope="module")
def values(model):
    return example.explain_tokens(model, IDS, LABELS)


def test_the_classifier_is_accurate(model):
    assert np.mean(model(IDS).numpy().argmax(1) == LABELS) > 0.9


def test_the_adjective_has_the_largest_attribution(values):
    adjectives = [example.vocabulary()[word] for words in example.ADJECTIVES for word in words]
    largest = IDS[np.arange(len(IDS)), values.argmax(1)]
    assert np.isin(largest, adjectives).mean() >= 0.8


def test_attributions_of_tokens_sum_to_the_change_of_the_logit(model, values):
    logits = tfxai.logits(model)
    change = (logits(IDS) - logits(np.zeros_like(IDS[:1]))).numpy()
    np.testing.assert_allclose(values.sum(1), change[np.arange(len(IDS)), LABELS], rtol=0.05)


def test_padding_has_no_attribution(values):
    np.testing.assert_array_equal(values[IDS == 0], 0)


def test_another_class_has_other_attributions(model, values):
    other = example.explain_tokens(model, IDS[:8], 1 - LABELS[:8])
    assert (other.sum(1) < values[:8].sum(1)).all()


@pytest.mark.parametrize("dtype", ["int32", "float32"])
@pytest.mark.parametrize("method", [tfxai.gradient, tfxai.integrated_gradients])
def test_token_ids_have_no_gradient(model, method, dtype):
    with pytest.raises(ValueError, match="looked up"):
        method(model)(IDS.astype(dtype), 0)


def test_words_are_red_for_and_blue_against():
    text = example.coloured(["good", "and", "bad"], np.array([2.0, 0.0, -1.0, 0.0]))
    assert text.plain == " good  and  bad "
    assert [span.style for span in text.spans] == [
        "black on rgb(255,0,0)",
        "black on rgb(255,255,255)",
        "black on rgb(128,128,255)",
    ]
