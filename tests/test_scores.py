"""Scores on logits, by closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from tfxai import scores

Z = np.array([[1.0, 5.0, 4.0], [2.0, 0.0, -1.0]], "float32")
T = np.array([1, 2], "int32")
P = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (scores.logit, [5, -1]),
        (scores.probability, P[[0, 1], T]),
        (scores.log_probability, np.log(P[[0, 1], T])),
        (scores.cross_entropy, -np.log(P[[0, 1], T])),
        (scores.margin, [1, -3]),
    ],
)
def test_a_score_of_several_classes(score, expected):
    np.testing.assert_allclose(score(tf.constant(Z), tf.constant(T)), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 1), (2,)])
@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (scores.logit, [3, -3]),
        (scores.probability, [1 / (1 + np.exp(-3)), 1 / (1 + np.exp(3))]),
        (scores.cross_entropy, [np.log1p(np.exp(-3)), np.log1p(np.exp(3))]),
        (scores.margin, [3, -3]),
    ],
)
def test_a_score_of_a_one_unit_head_is_plus_for_1_and_minus_for_0(score, expected, shape):
    outputs = tf.fill(shape, 3.0)
    np.testing.assert_allclose(score(outputs, tf.constant([1, 0])), expected, rtol=1e-5)


def test_log_probability_does_not_underflow():
    value = scores.log_probability(tf.constant([[0.0, 1000.0]]), tf.constant([0]))
    np.testing.assert_allclose(value, [-1000])


def test_a_score_of_a_map_of_classes_asks_for_a_function():
    with pytest.raises(ValueError, match=r"\(2, 4, 4, 3\).*score="):
        scores.logit(tf.zeros([2, 4, 4, 3]), tf.constant([0, 0]))
