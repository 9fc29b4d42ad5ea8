"""A model with its preprocessing in front, so that its inputs, and explanations, are raw images."""

from __future__ import annotations

from collections.abc import Callable

import keras

from tfxai.models import keras_graph


def preprocessed(
    model: keras.Model, preprocess: keras.layers.Layer | Callable | None
) -> keras.Model:
    """Give the model ``x -> model(preprocess(x))``, which shares all variables of `model`.

    Args:
        model: any Keras model.
        preprocess: a layer, or a function of tensors written with `keras.ops`, which must be
            registered with Keras to be saved; a Keras model with declared inputs if it changes the
            inputs' shape; None to give `model` itself.

    Raises:
        TypeError: `preprocess` is neither a layer nor a function.
    """
    if preprocess is None:
        return model
    if not callable(preprocess):
        raise TypeError(f"preprocess={preprocess!r}: expected a layer or a function of tensors")
    layer = preprocess
    if not isinstance(layer, keras.layers.Layer):
        layer = keras.layers.Lambda(layer, dtype=keras_graph.float_type(model), name="preprocess")
    declared = keras_graph.declared_inputs(layer) if isinstance(layer, keras.Model) else None
    specs = declared if declared is not None else keras_graph.declared_inputs(model)
    if specs is None:
        joined = keras.Sequential([layer, model])
    else:
        inputs = keras.tree.map_structure(
            lambda s: keras.Input(batch_shape=s.shape, dtype=s.dtype), specs
        )
        joined = keras.Model(inputs, model(layer(inputs)), name=f"preprocessed_{model.name}")
    if getattr(model, "class_names", None):
        joined.class_names = model.class_names
    return joined
