"""Guided backprop (Springenberg et al. 2015) and deconvnet (Zeiler and Fergus 2014)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import keras

from tfxai import scores
from tfxai.core import checks
from tfxai.core.types import Score
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.models.model_info import ModelInspector
from tfxai.rules import rectifier
from tfxai.rules.backward import gradient_under
from tfxai.rules.extensions import Extensions
from tfxai.rules.report import report
from tfxai.rules.rule import Rule


@builder
def guided_backprop(
    model: keras.Model,
    *,
    score: Score = scores.logit,
    passthrough: Sequence[str] = (),
    extend: bool = True,
) -> Method:
    """Explain by a gradient that passes a ReLU only where it is positive and the ReLU is active.

    R_in = 1[y > 0] 1[R_out > 0] R_out  at every y = ReLU(x)

    Args:
        model: a Keras model, written in any way.
        score: the function (outputs, targets) -> ``[B]`` that gives the score to explain.
        passthrough: types of operations or names of layers that keep their ordinary gradient.
        extend: whether other activations than ReLUs are treated alike, R_in = [f'(x)]+ [R_out]+ at
            y = f(x); normalisations by data hold their statistics, and what else is not piecewise
            linear has its ordinary gradient. False to refuse such models.

    Returns:
        An Explainer with attributions of the inputs' shape. Its `rule_report` lists the activations
        and all that the paper does not treat.

    Raises:
        ValueError: at the first call, if the model has an operation that is not known; with
            ``extend=False``, if it is not piecewise linear.

    Reference:
        Springenberg et al. 2015, section 3.4. Capped and leaky ReLUs count as ReLUs; their
        ordinary gradient takes the place of 1[y > 0]. The map says little about the class, since it
        nearly restores the image (Nie et al. 2018).

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "relu")])
        >>> _ = model.layers[0].kernel.assign([[2.0, 0.0], [-3.0, 2.0]])
        >>> guided_backprop(model)(keras.ops.ones((1, 2)), 1).numpy().round(4) + 0.0
        array([[0., 2.]], dtype=float32)
    """
    return _rectifier_method(rectifier.guided, model, score, passthrough, extend)


@builder
def deconvnet(
    model: keras.Model,
    *,
    score: Score = scores.logit,
    passthrough: Sequence[str] = (),
    extend: bool = True,
) -> Method:
    """Explain by a gradient that passes ReLUs, active or not, only where it is positive.

    R_in = 1[R_out > 0] R_out  at every y = ReLU(x)

    Args:
        model: a Keras model, written in any way.
        score: the function (outputs, targets) -> ``[B]`` that gives the score to explain.
        passthrough: types of operations or names of layers that keep their ordinary gradient.
        extend: as in `guided_backprop`, with R_in = [R_out]+ at every activation.

    Returns:
        An Explainer with attributions of the inputs' shape. Its `rule_report` lists the activations
        and all that the paper does not treat.

    Raises:
        ValueError: at the first call, if the model has an operation that is not known; with
            ``extend=False``, if it is not piecewise linear.

    Reference:
        Zeiler and Fergus 2014, section 2.1, in the form of Springenberg et al. 2015, figure 1.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "relu")])
        >>> _ = model.layers[0].kernel.assign([[2.0, 0.0], [-3.0, 2.0]])
        >>> deconvnet(model)(keras.ops.ones((1, 2)), 0).numpy().round(4)
        array([[ 2., -3.]], dtype=float32)
    """
    return _rectifier_method(rectifier.deconvnet, model, score, passthrough, extend)


def _rectifier_method(
    make_rule: Callable[..., Rule],
    model: keras.Model,
    score: Score,
    passthrough: Sequence[str],
    extend: bool,
) -> Method:
    """Give the method that takes the gradient under a rule for ReLUs."""
    inspector = ModelInspector(checks.model(model))
    names = checks.names("passthrough", passthrough)
    rule = partial(make_rule, extend=checks.one_of("extend", extend, (True, False)))
    extensions = Extensions()
    attribution = gradient_under(
        rule, model, score, passthrough=names, folded=True, extensions=extensions
    )
    return Method(
        inspector,
        lambda rows: attribution,
        score,
        report=lambda specs: report(rule(), model, score, specs, names),
        extensions=extensions,
        slopes=True,
    )
