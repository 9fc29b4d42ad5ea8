"""ONNX's operations as Keras layers: `OPERATIONS` has a function for each operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..constants import Operand
from ..layout import Value
from ..onnx_graph import Node
from . import (
    broadcasting,
    convolution,
    dense,
    depth,
    elementwise,
    normalisation,
    pooling,
    recurrent,
    reductions,
    reshaping,
    resizing,
    shapes,
)

Operation = Callable[[Node, list[Operand]], Value | Sequence[Operand]]
"""Maps a node and its operands to its output or outputs."""

OPERATIONS: dict[str, Operation] = {
    # weights
    "Conv": convolution.conv,
    "ConvTranspose": convolution.conv_transpose,
    "Gemm": dense.gemm,
    "MatMul": dense.matmul,
    "BatchNormalization": normalisation.batch_normalization,
    "LayerNormalization": normalisation.layer_normalization,
    "InstanceNormalization": normalisation.instance_normalization,
    "GroupNormalization": normalisation.group_normalization,
    "RMSNormalization": normalisation.rms_normalization,
    "LSTM": recurrent.recurrent,
    "GRU": recurrent.recurrent,
    "RNN": recurrent.recurrent,
    # pools and reductions
    "MaxPool": pooling.max_pool,
    "AveragePool": pooling.average_pool,
    "GlobalMaxPool": pooling.global_max_pool,
    "GlobalAveragePool": pooling.global_average_pool,
    "ReduceMean": partial(reductions.reduce, "mean"),
    "ReduceSum": partial(reductions.reduce, "sum"),
    "ReduceMax": partial(reductions.reduce, "max"),
    "ReduceMin": partial(reductions.reduce, "min"),
    "ReduceProd": partial(reductions.reduce, "prod"),
    "ReduceLogSumExp": partial(reductions.reduce, "logsumexp"),
    "ReduceL1": partial(reductions.composed, "abs", "sum", None),
    "ReduceL2": partial(reductions.composed, "square", "sum", "sqrt"),
    "ReduceSumSquare": partial(reductions.composed, "square", "sum", None),
    "ReduceLogSum": partial(reductions.composed, None, "sum", "log"),
    # activations
    "Relu": elementwise.relu,
    "LeakyRelu": elementwise.leaky_relu,
    "PRelu": elementwise.prelu,
    "Elu": elementwise.elu,
    "Selu": elementwise.selu,
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
    "Less": partial(elementwise.binary, "less"),
    "LessOrEqual": partial(elementwise.binary, "less_equal"),
    "Greater": partial(elementwise.binary, "greater"),
    "GreaterOrEqual": partial(elementwise.binary, "greater_equal"),
    "Equal": partial(elementwise.binary, "equal"),
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
    "Ceil": elementwise.keras_op("ceil"),
    "Round": elementwise.keras_op("round"),
    "Sign": elementwise.keras_op("sign"),
    "Tan": elementwise.keras_op("tan"),
    "Asin": elementwise.keras_op("arcsin"),
    "Acos": elementwise.keras_op("arccos"),
    "Atan": elementwise.keras_op("arctan"),
    "Sinh": elementwise.keras_op("sinh"),
    "Cosh": elementwise.keras_op("cosh"),
    "Asinh": elementwise.keras_op("arcsinh"),
    "Acosh": elementwise.keras_op("arccosh"),
    "Atanh": elementwise.keras_op("arctanh"),
    # what leaves a tensor as it is
    "Identity": elementwise.identity,
    "Dropout": elementwise.identity,
    "Cast": elementwise.cast,
    "CastLike": elementwise.cast_like,
    # shapes
    "Transpose": shapes.transpose,
    "Flatten": reshaping.flatten,
    "Reshape": reshaping.reshape,
    "Squeeze": reshaping.squeeze,
    "Unsqueeze": reshaping.unsqueeze,
    "Expand": broadcasting.expand,
    "Tile": broadcasting.tile,
    "Where": broadcasting.where,
    "Concat": shapes.concat,
    "Split": shapes.split,
    "Slice": shapes.slice_,
    "Gather": shapes.gather,
    "GatherND": shapes.gather_nd,
    "Pad": shapes.pad,
    "DepthToSpace": depth.depth_to_space,
    "SpaceToDepth": depth.space_to_depth,
    "Resize": resizing.resize,
    "Upsample": resizing.resize,
}
"""The functions by ONNX's names of operations."""

JOINING = ("Reshape", "Flatten", "Gather")
"""Operations that say how many rows an example has; all others leave them as they are."""
