"""A model with its preprocessing in front, so that explanations are in the units of raw inputs."""

from __future__ import annotations

from collections.abc import Callable

import keras

from tfxai.models import keras_graph


def preprocessed(
    model: keras.Model, preprocess: keras.layers.Layer | Callable | None
) -> keras.Model:
    """Give the model ``x -> model(preprocess(x))``, which shares `model`.

    Args:
        model: any Keras model.
        preprocess: a layer, or a function of tensors by `keras.ops`; to be saved, a function is
            registered with Keras. If it changes the inputs' shape, a model that declares them.
            None gives `model` itself.

    Raises:
        TypeError: `preprocess` is neither.
    """
    if preprocess is None:
        return model
    if not callable(preprocess):
        raise TypeError(f"preprocess={preprocess!r}: expected a layer or a function of tensors")
    layer = preprocess
    if not isinstance(layer, keras.layers.Layer):
        layer = keras.layers.Lambda(layer, dtype=keras_graph.float_type(model), name="preprocess")
    own = keras_graph.declared_inputs(layer) if isinstance(layer, keras.Model) else None
    specs = own if own is not None else keras_graph.declared_inputs(model)
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
