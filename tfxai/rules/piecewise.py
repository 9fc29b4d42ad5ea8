"""Which networks are piecewise linear, that is, linear around almost every input."""

from __future__ import annotations

from collections.abc import Sequence

from tfxai.rules.affine import KERNELS
from tfxai.rules.steps import Step

PIECEWISE_LINEAR = {
    *("Identity", "Cast", "EnsureShape", "PlaceholderWithDefault", "Reshape", "Squeeze"),
    *("ExpandDims", "Transpose", "Pack", "Unpack", "Split", "SplitV", "Concat", "ConcatV2"),
    *("Slice", "StridedSlice", "Gather", "GatherV2", "Tile", "BroadcastTo", "ReverseV2", "Roll"),
    *("Pad", "PadV2", "MirrorPad", "SpaceToBatchND", "BatchToSpaceND", "SpaceToDepth"),
    *("DepthToSpace", "ResizeBilinear", "ResizeNearestNeighbor", "Mean", "Sum", "Max", "Min"),
    *("MaxPool", "MaxPool3D", "AvgPool", "AvgPool3D", "Add", "AddV2", "AddN", "Sub", "Neg"),
    *("BiasAdd", "Mul", "RealDiv", "Relu", "Relu6", "LeakyRelu", "Maximum", "Minimum"),
    *("Select", "SelectV2"),
}
"""Operations that may keep their ordinary gradient under a rule."""
_UNKNOWN_TO_RULES = {"Abs", "ResizeBicubic"}
"""Operations that are piecewise linear, too, but on which no rule has been tried."""
_IN_ONE_ARGUMENT = {*KERNELS, "Einsum", "Mul", "RealDiv"}
"""Operations that are linear in each of their inputs, but not in several inputs together."""


def curved_operation(steps: Sequence[Step]) -> str | None:
    """Name the first operation of a network that is not piecewise linear; None if all are."""
    for step in steps:
        if not _is_piecewise_linear(step):
            return f"{step.first.type} in {step.first.name!r}"
    return None


def _is_piecewise_linear(step: Step) -> bool:
    if step.first.type == "RealDiv":
        return step.data == (0,)
    if step.first.type in _IN_ONE_ARGUMENT:
        return len(step.data) == 1
    return step.first.type in PIECEWISE_LINEAR or step.first.type in _UNKNOWN_TO_RULES
