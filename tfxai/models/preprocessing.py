"""A model with its preprocessing in front: it takes, and is explained in terms of, raw inputs."""

from __future__ import annotations

from collections.abc import Callable

import keras

from tfxai.models import keras_graph


def preprocessed(
    model: keras.Model, preprocess: keras.layers.Layer | Callable | None
) -> keras.Model:
    """Give the model ``x -> model(preprocess(x))``, which shares all variables with `model`.

    Args:
        model: any Keras model.
        preprocess: a layer, or a function of tensors written with `keras.ops`. A function must be
            registered with Keras if the result is to be saved. Preprocessing that changes the
            inputs' shape must be a Keras model with declared inputs. For None the result is
            `model` itself.

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
    specs = keras_graph.declared_inputs(layer) if isinstance(layer, keras.Model) else None
    if specs is None:
        specs = keras_graph.declared_inputs(model)
    if specs is None:
        joined = keras.Sequential([layer, model])
    else:
        inputs = keras.tree.map_structure(
            lambda spec: keras.Input(batch_shape=spec.shape, dtype=spec.dtype), specs
        )
        joined = keras.Model(inputs, model(layer(inputs)), name=f"preprocessed_{model.name}")
    if getattr(model, "class_names", None):
        joined.class_names = model.class_names
    return joined
