"""The decorator `builder`, which turns a function that makes a method into a builder."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

import keras
import numpy as np
import tensorflow as tf

from tfxai.explaining.explainer import Explainer
from tfxai.explaining.method import Method

_P = ParamSpec("_P")


def builder(function: Callable[_P, Method]) -> Callable[_P, Explainer]:
    """Turn a function that makes a method into a builder, a function that makes an Explainer.

    The builder has the name, docstring and parameters of the function. The Explainer keeps the
    builder's arguments, defaults included, as its options. The builder is registered with Keras
    under "tfxai", so that a saved explainer can be built again when it is loaded.

    Args:
        function: takes a model, or an explainer to build upon, as its first argument, checks all
            other arguments, and gives the method.

    Example:
        >>> from tfxai import scores
        >>> from tfxai.estimation.estimate import gradient_of
        >>> from tfxai.models.scored_models import scored
        >>> from tfxai.models.model_info import ModelInspector
        >>> @builder
        ... def slope(model, *, score=scores.logit):
        ...     attribution = gradient_of(model, score)
        ...     return Method(ModelInspector(model), lambda rows: attribution, score)
        >>> explainer = slope(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]))
        >>> explainer.name, explainer.settings
        ('slope', {'method': 'slope', 'score': 'logit'})
        >>> explainer(np.ones([4, 2]), 0).shape
        TensorShape([4, 2])
    """
    signature = inspect.signature(function)
    first, *_ = signature.parameters

    @functools.wraps(function)
    def build(*args: _P.args, **keywords: _P.kwargs) -> Explainer:
        method = function(*args, **keywords)
        bound = signature.bind(*args, **keywords)
        bound.apply_defaults()
        options = dict(bound.arguments)
        base = options.pop(first)
        options = {name: _savable_option(value) for name, value in options.items()}
        return Explainer(base, method, builder=build, options=options)

    # `wraps` has copied the return type of the function; the builder returns an Explainer.
    build.__signature__ = signature.replace(return_annotation=Explainer)  # type: ignore[attr-defined]
    build.__annotations__ = {**function.__annotations__, "return": Explainer}
    return keras.saving.register_keras_serializable("tfxai")(build)


def _savable_option(value: Any) -> Any:
    """Give another library's array or table as a numpy array, which Keras can save."""
    is_savable = isinstance(value, np.ndarray | np.generic) or tf.is_tensor(value)
    return np.asarray(value) if hasattr(value, "__array__") and not is_savable else value
