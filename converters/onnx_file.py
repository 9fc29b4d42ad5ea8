"""`from_onnx`: a Keras model from an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import keras

from .build import InputShape, build
from .fusing import fuse_arithmetic
from .onnx2tf_engine import convert_by_onnx2tf
from .patterns import name_patterns
from .reader import load_proto, read_graph

if TYPE_CHECKING:
    import onnx

ENGINES = ("layers", "onnx2tf")
"""The importer in this package, and the converter onnx2tf."""


def from_onnx(
    path_or_proto: str | Path | onnx.ModelProto,
    *,
    input_shape: InputShape | None = None,
    engine: str = "layers",
) -> keras.Model:
    """Rebuild an ONNX model as a Keras model, layer by layer, with its weights.

    Inputs and outputs that are images are channels-last, ``[B, H, W, C]``, whatever their order in
    the file. Layers have the names of the file's nodes. Arithmetic by constants that follows a
    convolution or a product becomes part of its weights. `certify` measures how close the two
    models are.

    Args:
        path_or_proto: an .onnx file, with the file of its weights beside it if it has one, or a
            model that is loaded already.
        input_shape: the shape of one example in the file's order, such as (3, 224, 224), where the
            file leaves sizes open; for several inputs, a dict of shapes by name.
        engine: "layers" for this importer; "onnx2tf" for the converter onnx2tf, in a process of
            its own, which knows more operations, but whose models have gradients and no weights.

    Returns:
        A functional Keras model.

    Raises:
        FileNotFoundError: the file, or the file of its weights, is missing.
        UnsupportedError: an operation that cannot be rebuilt; the message names the operation, its
            node and the remedy. It is a ValueError.
        ValueError: the file is no ONNX model, or sizes are not known.

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
    proto = load_proto(path_or_proto)
    if engine == "onnx2tf":
        return convert_by_onnx2tf(proto, input_shape)
    return build(fuse_arithmetic(name_patterns(read_graph(proto))), input_shape)
