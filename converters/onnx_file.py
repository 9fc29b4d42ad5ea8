"""`from_onnx`: a Keras model from an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import keras

from .build import InputShape, build
from .fusing import fused
from .onnx2tf_engine import converted
from .reader import loaded, read

if TYPE_CHECKING:
    import onnx

ENGINES = ("layers", "onnx2tf")


def from_onnx(
    path_or_proto: str | Path | onnx.ModelProto,
    *,
    input_shape: InputShape | None = None,
    engine: str = "layers",
) -> keras.Model:
    """Rebuild an ONNX model as a Keras model, layer by layer, with its weights.

    Images are channels-last, ``[B, H, W, C]``, whatever the file has; so are outputs that are
    images. Layers are named as in the file. Arithmetic by constants behind a convolution or a
    product becomes part of its weights. See `certify` for how close the two models are.

    Args:
        path_or_proto: an .onnx file, with the file of its weights beside it if it has one, or a
            model that is loaded.
        input_shape: the shape of one example in the file's order, such as (3, 224, 224), where the
            file leaves sizes open; a dict by name for several inputs.
        engine: "layers", or "onnx2tf" for operations that this does not know: the converter of
            that name, in a process of its own. Its models have gradients but no weights.

    Returns:
        A functional Keras model.

    Raises:
        FileNotFoundError: no such file, or its weights are missing.
        UnsupportedError: a ValueError that names the operation, its node and the remedy.
        ValueError: no ONNX model, or sizes that are not known.

    Example:
        >>> import numpy as np
        >>> from onnx import helper, numpy_helper, TensorProto
        >>> kernel = numpy_helper.from_array(np.ones((2, 3, 1, 1), "float32"), "kernel")
        >>> graph = helper.make_graph(
        ...     [helper.make_node("Conv", ["x", "kernel"], ["y"], name="first")], "net",
        ...     [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3, 8, 8])],
        ...     [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [kernel])
        >>> proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        >>> model = from_onnx(proto)
        >>> [layer.name for layer in model.layers], model.output_shape
        (['x', 'first'], (None, 8, 8, 2))
    """
    if engine not in ENGINES:
        raise ValueError(f"engine={engine!r}: expected one of {ENGINES}")
    proto = loaded(path_or_proto)
    if engine == "onnx2tf":
        return converted(proto, input_shape)
    return build(fused(read(proto)), input_shape)
