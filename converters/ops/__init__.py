"""ONNX's operations as Keras layers: `OPERATIONS` has a function for each operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..constants import Operand
from ..layout import Value
from ..onnx_graph import Node
from . import (
    convolution,
    dense,
    elementwise,
    normalisation,
    pooling,
    reductions,
    resizing,
    shapes,
)

Operation = Callable[[Node, list[Operand]], Value | Sequence[Operand]]
"""Maps a node and its operands to its output or outputs."""

OPERATIONS: dict[str, Operation] = {
    # weights
    "Conv": convolution.conv,
    "Gemm": dense.gemm,
    "MatMul": dense.matmul,
    "BatchNormalization": normalisation.batch_normalization,
    "LayerNormalization": normalisation.layer_normalization,
    # pools and reductions
    "MaxPool": pooling.max_pool,
    "AveragePool": pooling.average_pool,
    "GlobalMaxPool": pooling.global_max_pool,
    "GlobalAveragePool": pooling.global_average_pool,
    "ReduceMean": partial(reductions.reduce, "mean"),
    "ReduceSum": partial(reductions.reduce, "sum"),
    "ReduceMax": partial(reductions.reduce, "max"),
    "ReduceMin": partial(reductions.reduce, "min"),
    # activations
    "Relu": elementwise.relu,
    "LeakyRelu": elementwise.leaky_relu,
    "PRelu": elementwise.prelu,
    "Elu": elementwise.elu,
    "Selu": elementwise.activation("selu"),
    "Celu": elementwise.celu,
    "Gelu": elementwise.gelu,
    "Sigmoid": elementwise.activation("sigmoid"),
    "HardSigmoid": elementwise.hard_sigmoid,
    "HardSwish": elementwise.activation("hard_silu"),
    "Mish": elementwise.activation("mish"),
    "Tanh": elementwise.activation("tanh"),
    "Softplus": elementwise.activation("softplus"),
    "Softsign": elementwise.activation("softsign"),
    "Softmax": partial(elementwise.softmax, "softmax"),
    "LogSoftmax": partial(elementwise.softmax, "log_softmax"),
    "Clip": elementwise.clip,
    # arithmetic
    "Add": partial(elementwise.binary, "add"),
    "Sub": partial(elementwise.binary, "subtract"),
    "Mul": partial(elementwise.binary, "multiply"),
    "Div": partial(elementwise.binary, "divide"),
    "Pow": partial(elementwise.binary, "power"),
    "Sum": partial(elementwise.variadic, "add"),
    "Max": partial(elementwise.variadic, "maximum"),
    "Min": partial(elementwise.variadic, "minimum"),
    "Abs": elementwise.keras_op("abs"),
    "Neg": elementwise.keras_op("negative"),
    "Exp": elementwise.keras_op("exp"),
    "Log": elementwise.keras_op("log"),
    "Sqrt": elementwise.keras_op("sqrt"),
    "Erf": elementwise.keras_op("erf"),
    "Sin": elementwise.keras_op("sin"),
    "Cos": elementwise.keras_op("cos"),
    "Reciprocal": elementwise.keras_op("reciprocal"),
    "Floor": elementwise.keras_op("floor"),
    # what leaves a tensor as it is
    "Identity": elementwise.identity,
    "Dropout": elementwise.identity,
    "Cast": elementwise.cast,
    "CastLike": elementwise.cast_like,
    # shapes
    "Transpose": shapes.transpose,
    "Flatten": shapes.flatten,
    "Reshape": shapes.reshape,
    "Squeeze": shapes.squeeze,
    "Unsqueeze": shapes.unsqueeze,
    "Concat": shapes.concat,
    "Split": shapes.split,
    "Slice": shapes.slice_,
    "Gather": shapes.gather,
    "Pad": shapes.pad,
    "Resize": resizing.resize,
    "Upsample": resizing.resize,
}
"""The functions by ONNX's names of operations."""
