"""Activations and normalisations, found in the graph however they are written.

A region is a part of the graph between one tensor x and one tensor y of its shape whose operations
act on each element alone: GELU is x erfc(-x / sqrt 2) / 2 in four operations. A region that also
takes means or sums over axes of x, and divides by what they give, is a normalisation by data, such
as a layer or group normalisation. Regions are recognised where a rule must treat them as a whole:
where they are curved, multiply what comes from x by what comes from x, or are the two halves of a
PReLU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import tensorflow as tf

from tfxai.models.swish import is_swish

CURVED = {
    *("Sigmoid", "Tanh", "Elu", "Selu", "Softplus", "Softsign", "Exp", "Expm1", "Log", "Log1p"),
    *("Erf", "Erfc", "Square", "Sqrt", "Rsqrt", "Pow", "Reciprocal", "Inv", "SquaredDifference"),
    *("Sin", "Cos", "Atan", "Sinh", "Cosh", "Asinh", "Abs"),
}
"""Operations on each element alone that are not piecewise linear, or on which no rule has been
tried without a region."""
_STRAIGHT = {
    *("Identity", "Cast", "EnsureShape", "CheckNumerics", "Neg", "Add", "AddV2", "AddN", "Sub"),
    *("BiasAdd", "Mul", "RealDiv", "Relu", "Relu6", "LeakyRelu", "Maximum", "Minimum", "Select"),
    *("SelectV2", "ZerosLike", "OnesLike"),
}
"""Piecewise-linear operations on each element alone."""
_REDUCTIONS = {"Mean", "Sum", "Max", "Min"}
_SCALE_AND_SHIFT = {"Mul", "RealDiv", "Add", "AddV2", "Sub", "BiasAdd", "Cast", "Identity"}
"""Operations that scale and shift what has been normalised, if they read nothing else of data."""


class Region(NamedTuple):
    """The operations of an activation or a normalisation."""

    source: tf.Tensor
    """x, the only tensor that it reads of those that depend on the network's input."""
    operations: tuple[tf.Operation, ...]
    """In their order of evaluation; the last gives y."""

    @property
    def normalizes(self) -> bool:
        """Whether this is a normalisation by data; otherwise it is an activation."""
        return bool(self.reductions)

    @property
    def reductions(self) -> list[tf.Tensor]:
        """The means and sums over axes of x."""
        return [o.outputs[0] for o in self.operations if o.type in _REDUCTIONS]

    @property
    def name(self) -> str:
        """A name in the words of the field, where there is one for these operations."""
        kinds = {o.type for o in self.operations}
        if self.normalizes:
            return "normalisation by data"
        if "IdentityN" in kinds or kinds - {"Identity"} == {"Mul", "Sigmoid"}:
            return "swish"
        if kinds & {"Erf", "Erfc"} or ("Pow" in kinds and "Tanh" in kinds):
            return "GELU"
        if kinds >= {"Softplus", "Tanh", "Mul"}:
            return "mish"
        if "Relu6" in kinds:
            return "hard swish"
        return "PReLU" if is_halves(self) else "activation"


def is_halves(region: Region) -> bool:
    """Whether a region is of two ReLUs, of x and of -x, as that of a PReLU is."""
    return any(_is_half(o) for o in region.operations)


def find_regions(
    operations: Iterable[tf.Operation], data: Mapping[str, tuple[int, ...]], stops: set
) -> dict[str, Region]:
    """Find the activations and normalisations, the largest where one is within another.

    Args:
        operations: all that lead from the inputs to the outputs, in their order of evaluation.
        data: an operation's name -> the numbers of its inputs that depend on the network's input.
        stops: references of tensors that are wanted, so that no region may hide them.

    Returns:
        The name of the last operation of a region -> the region.
    """
    operations = list(operations)
    tree = _Dominators()
    readers: dict = {}
    for operation in operations:
        reads = [operation.inputs[i] for i in data[operation.name]]
        for tensor in reads:
            readers.setdefault(tensor.ref(), []).append(operation)
        if _acts_on_elements(operation):
            tree.add(operation.outputs[0], reads)
    found: dict[str, Region] = {}
    taken: set[str] = set()
    for operation in reversed(operations):
        if operation.name in taken or len(data[operation.name]) < 2:
            continue
        source = tree.parent.get(operation.outputs[0].ref())
        if source is None:
            continue
        region = Region(source.deref(), tuple(_between(source, operation, data)))
        if _is_region(region, data) and not _leaks(region, readers, stops):
            if region.normalizes:
                centred = _with_centring(region, tree, data)
                region = region if _leaks(centred, readers, stops) else centred
                region = _with_scale_and_shift(region, data, readers, stops)
            found[region.operations[-1].name] = region
            taken.update(o.name for o in region.operations)
    return found


class _Dominators:
    """The tree of tensors through which all that leads to another tensor must go."""

    def __init__(self) -> None:
        self.parent: dict = {}
        self._depth: dict = {}

    def add(self, result: tf.Tensor, reads: list[tf.Tensor]) -> None:
        """Note that a tensor is computed from others, element by element."""
        common = reads[0].ref()
        for tensor in reads[1:]:
            common = self._common(common, tensor.ref())
            if common is None:
                return
        self.parent[result.ref()] = common
        self._depth[result.ref()] = self._depth.get(common, 0) + 1

    def _common(self, one: object, other: object) -> object | None:
        while one is not None and one != other:
            if self._depth.get(one, 0) >= self._depth.get(other, 0):
                one = self.parent.get(one)
            else:
                other = self.parent.get(other)
        return one


def _acts_on_elements(operation: tf.Operation) -> bool:
    kind = operation.type
    if kind in _REDUCTIONS:
        return bool(operation.get_attr("keep_dims"))
    return kind in CURVED or kind in _STRAIGHT or is_swish(operation)


def _between(source: object, last: tf.Operation, data: Mapping) -> list[tf.Operation]:
    """List the operations from a tensor to an operation, in an order of evaluation."""
    found: dict[str, tf.Operation] = {}

    def visit(operation: tf.Operation) -> None:
        if operation.name not in found:
            for i in data[operation.name]:
                if operation.inputs[i].ref() != source:
                    visit(operation.inputs[i].op)
            found[operation.name] = operation

    visit(last)
    return list(found.values())


def _is_region(region: Region, data: Mapping) -> bool:
    """Whether operations must be treated as a whole, and give a tensor of their source's shape."""
    curved = any(_is_curved(o, data[o.name]) for o in region.operations)
    if not curved and (region.normalizes or not is_halves(region)):
        return False
    x, y = region.source.shape, region.operations[-1].outputs[0].shape
    return x.rank is not None and x.as_list() == y.as_list()


def _is_curved(operation: tf.Operation, data: tuple[int, ...]) -> bool:
    if operation.type == "Mul":
        return len(data) > 1
    return operation.type in CURVED or (operation.type == "RealDiv" and 1 in data)


def _is_half(operation: tf.Operation) -> bool:
    if operation.type != "Relu":
        return False
    source = operation.inputs[0].op
    return source.type == "Neg" and any(o.type == "Relu" for o in source.inputs[0].consumers())


def _leaks(region: Region, readers: Mapping, stops: set) -> bool:
    """Whether something between source and result is read elsewhere, or wanted."""
    inside = {o.name for o in region.operations}
    for operation in region.operations[:-1]:
        for tensor in operation.outputs:
            if tensor.ref() in stops or any(
                reader.name not in inside for reader in readers.get(tensor.ref(), ())
            ):
                return True
    return False


def _with_centring(region: Region, tree: _Dominators, data: Mapping) -> Region:
    """Give a normalisation of x - mean(x) as one of x."""
    parent, subtraction = tree.parent.get(region.source.ref()), region.source.op
    if parent is None or subtraction.type != "Sub" or len(data[subtraction.name]) != 2:
        return region
    centring = Region(parent.deref(), tuple(_between(parent, subtraction, data)))
    if not centring.normalizes or any(_is_curved(o, data[o.name]) for o in centring.operations):
        return region
    return centring._replace(operations=(*centring.operations, *region.operations))


def _with_scale_and_shift(region: Region, data: Mapping, readers: Mapping, stops: set) -> Region:
    """Give a normalisation with the constant scale and shift that follow it, as those of its layer.

    Some layers have their scale between these operations (LayerNormalization), others behind them
    (RMSNormalization); rules do not depend on this.
    """
    operations = list(region.operations)
    following = _only_reader(operations[-1].outputs[0], readers, stops)
    while following is not None and _scales_or_shifts(following, data[following.name]):
        operations.append(following)
        following = _only_reader(following.outputs[0], readers, stops)
    return region._replace(operations=tuple(operations))


def _only_reader(tensor: tf.Tensor, readers: Mapping, stops: set) -> tf.Operation | None:
    found = readers.get(tensor.ref(), [])
    return found[0] if len(found) == 1 and tensor.ref() not in stops else None


def _scales_or_shifts(operation: tf.Operation, data: tuple[int, ...]) -> bool:
    """Whether an operation scales or shifts a tensor by constants, and keeps its shape."""
    if operation.type not in _SCALE_AND_SHIFT or len(data) != 1:
        return False
    x, y = operation.inputs[data[0]].shape, operation.outputs[0].shape
    return x.as_list() == y.as_list() and (operation.type != "RealDiv" or data == (0,))
