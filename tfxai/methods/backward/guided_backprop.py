"""Guided backprop (Springenberg et al. 2015) and deconvnet (Zeiler and Fergus 2014)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

from tfxai import scores
from tfxai.core import checks
from tfxai.core.types import Score
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.models.model_info import ModelInspector
from tfxai.rules import rectifier
from tfxai.rules.backward import Rule, gradient_under, report


@builder
def guided_backprop(
    model: keras.Model, *, score: Score = scores.logit, passthrough: Sequence[str] = ()
) -> Method:
    """Explain by the gradient that passes ReLUs only where it is positive and they are active.

    R_in = 1[y > 0] 1[R_out > 0] R_out  at every y = ReLU(x)

    Args:
        model: a Keras model of ReLUs and other piecewise-linear steps, written in any way.
        score: what is explained, (outputs, targets) -> ``[B]``.
        passthrough: types of operations or names of layers that keep their ordinary gradient.

    Returns:
        An Explainer with attributions of the inputs' shape. `rule_report` lists the ReLUs found.

    Raises:
        ValueError: at the first call, an operation that is not piecewise linear.

    Reference:
        Springenberg et al. 2015, section 3.4. Capped and leaky ReLUs count as ReLUs; for them
        the ordinary gradient takes the place of 1[y > 0]. PReLUs raise. The map says little of the
        class: it nearly restores the image (Nie et al. 2018).

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "relu")])
        >>> _ = model.layers[0].kernel.assign([[2.0, 0.0], [-3.0, 2.0]])
        >>> guided_backprop(model)(keras.ops.ones((1, 2)), 1).numpy().round(4) + 0.0
        array([[0., 2.]], dtype=float32)
    """
    return _gradient_under(rectifier.guided, model, score, passthrough)


@builder
def deconvnet(
    model: keras.Model, *, score: Score = scores.logit, passthrough: Sequence[str] = ()
) -> Method:
    """Explain by the gradient that passes ReLUs only where it is positive, active or not.

    R_in = 1[R_out > 0] R_out  at every y = ReLU(x)

    Args:
        model: a Keras model of ReLUs and other piecewise-linear steps, written in any way.
        score: what is explained, (outputs, targets) -> ``[B]``.
        passthrough: types of operations or names of layers that keep their ordinary gradient.

    Returns:
        An Explainer with attributions of the inputs' shape. `rule_report` lists the ReLUs found.

    Raises:
        ValueError: at the first call, an operation that is not piecewise linear.

    Reference:
        Zeiler and Fergus 2014, section 2.1, as in Springenberg et al. 2015, figure 1.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "relu")])
        >>> _ = model.layers[0].kernel.assign([[2.0, 0.0], [-3.0, 2.0]])
        >>> deconvnet(model)(keras.ops.ones((1, 2)), 0).numpy().round(4)
        array([[ 2., -3.]], dtype=float32)
    """
    return _gradient_under(rectifier.deconvnet, model, score, passthrough)


def _gradient_under(
    rule: Callable[[], Rule], model: keras.Model, score: Score, passthrough: Sequence[str]
) -> Method:
    """Give the method that takes the gradient under a rule."""
    inspector = ModelInspector(checks.model(model))
    names = checks.names("passthrough", passthrough)
    attribution = gradient_under(rule, model, score, passthrough=names)
    return Method(
        inspector,
        lambda rows: attribution,
        score,
        report=lambda specs: report(rule(), model, score, specs, names),
    )
