"""The steps of a network: the operations of its traced graph, with affine ones folded into kernels.

The traced graph shows every operation, however the model was written. A kernel (a convolution or
a matrix product with weights) and what follows it channel by channel, such as a bias and a batch
normalisation, make one step: y = W'^T x + b' with W' = W s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import tensorflow as tf
from tensorflow.python.framework.ops import get_gradient_function

Owners = dict[int, tuple]
"""Variable's handle (its id) -> (layer, variable), as `graph.owners` gives them."""


class Form(NamedTuple):
    """Where an operation takes its data and its weights."""

    data: int
    kernel: int
    neurons: tuple[int, ...]
    """The kernel's axes that count output neurons; the others are the inputs of each."""


KERNELS = {
    "MatMul": Form(0, 1, (-1,)),
    "BatchMatMulV2": Form(0, 1, (-1,)),
    "Conv2D": Form(0, 1, (-1,)),
    "Conv3D": Form(0, 1, (-1,)),
    "DepthwiseConv2dNative": Form(0, 1, (-2, -1)),
    "Conv2DBackpropInput": Form(2, 1, (-2,)),  # transposed convolutions
    "Conv3DBackpropInputV2": Form(2, 1, (-2,)),
}
REARRANGING = {"Identity", "Cast", "Reshape", "Squeeze", "ExpandDims", "BatchToSpaceND"}


class Folded(NamedTuple):
    """An affine operation that follows a kernel."""

    operation: tf.Operation
    data: int
    """Which of its inputs is the kernel's result."""
    scale: tf.Tensor | None
    """A factor, one for all or one for each channel."""


@dataclass(frozen=True, eq=False)
class Step:
    """One operation, or a kernel and the affine operations folded into it."""

    first: tf.Operation
    """The kernel, or the only operation."""
    data: tuple[int, ...]
    """Which inputs of the first operation depend on the network's input."""
    form: Form | None = None
    """Of a kernel; None for any other operation."""
    folded: tuple[Folded, ...] = ()
    """What follows a kernel."""
    name: str = ""
    """Of a kernel: its layer's, or "sep/pointwise_kernel" where a layer has several; of a sum:
    "sum". The second of a name, such as the second call of a layer, is "conv@2"."""

    @property
    def inputs(self) -> list[tf.Tensor]:
        """The inputs that depend on the network's input."""
        return [self.first.inputs[i] for i in self.data]

    @property
    def outputs(self) -> list[tf.Tensor]:
        """What the last operation gives."""
        return list((self.folded[-1].operation if self.folded else self.first).outputs)

    def gradient(self, cotangents: Sequence[tf.Tensor]) -> list[tf.Tensor | None]:
        """Pass cotangents of the outputs back to the inputs, as differentiation does."""
        for folded in reversed(self.folded):
            cotangents = [gradients(folded.operation, cotangents)[folded.data]]
        found = gradients(self.first, cotangents)
        return [found[i] for i in self.data]


def is_sum(step: Step) -> bool:
    """Whether a step adds several inputs, channel by channel."""
    many = step.first.type in ("Add", "AddV2", "AddN", "Sub") and len(step.data) > 1
    return many and step.outputs[0].shape.rank is not None and bool(step.outputs[0].shape[-1])


def steps_between(
    inputs: Sequence[tf.Tensor], outputs: Iterable[tf.Tensor], owners: Owners | None = None
) -> list[Step]:
    """List the steps that lead from inputs to outputs, in their order of evaluation.

    Args:
        inputs: symbolic tensors of the current graph.
        outputs: tensors computed from them; none of them ends up inside a step.
        owners: name the kernels.
    """
    stops = {t.ref() for t in outputs}
    operations, data = _path(inputs, stops)
    consumers: dict = {}
    for operation in operations:
        for i in data[operation.name]:
            consumers.setdefault(operation.inputs[i].ref(), []).append(operation)
    steps: list[Step] = []
    inside: set[str] = set()
    for operation in operations:
        if operation.name not in inside:
            form = _form_of(operation, data[operation.name])
            folded = _following(operation, consumers, data, stops) if form else []
            inside.update(f.operation.name for f in folded)
            steps.append(Step(operation, data[operation.name], form, tuple(folded)))
    return _with_names(steps, owners or {})


def _path(inputs: Sequence[tf.Tensor], stops: set) -> tuple[list[tf.Operation], dict]:
    """Give the operations between, and which of their inputs are data (by operation name)."""
    reached = {t.ref() for t in inputs}
    ahead, data = [], {}
    for operation in inputs[0].graph.get_operations():  # created in an order of evaluation
        positions = tuple(i for i, t in enumerate(operation.inputs) if t.ref() in reached)
        if positions and operation.type != "StopGradient":
            floating = [t for t in operation.outputs if t.dtype.is_floating]
            reached.update(t.ref() for t in floating)
            if floating:
                ahead.append(operation)
                data[operation.name] = positions
    needed, between = set(stops), []
    for operation in reversed(ahead):
        if any(t.ref() in needed for t in operation.outputs):
            between.append(operation)
            needed.update(operation.inputs[i].ref() for i in data[operation.name])
    return between[::-1], data


def _form_of(operation: tf.Operation, data: tuple[int, ...]) -> Form | None:
    """Give the form of a kernel that we can fold into and give patterns to."""
    form = KERNELS.get(operation.type)
    if form is None or data != (form.data,) or not operation.inputs[form.kernel].shape[-1]:
        return None
    names = {a.name for a in operation.op_def.attr}
    if "data_format" in names and not operation.get_attr("data_format").endswith(b"C"):
        return None
    if operation.type in ("MatMul", "BatchMatMulV2"):
        flags = ("transpose_a", "transpose_b") if operation.type == "MatMul" else ("adj_x", "adj_y")
        if operation.get_attr(flags[0]) or operation.inputs[1].shape.rank != 2:
            return None
        if operation.get_attr(flags[1]):
            return form._replace(neurons=(-2,))
    return form


def _following(kernel: tf.Operation, consumers: dict, data: dict, stops: set) -> list[Folded]:
    """List the affine operations that only the kernel's result goes through, one after another."""
    folded: list[Folded] = []
    y = kernel.outputs[0]
    while y.ref() not in stops and len(consumers.get(y.ref(), [])) == 1:
        operation = consumers[y.ref()][0]
        next_one = _folding(operation, data[operation.name], y)
        if next_one is None:
            break
        folded.append(next_one)
        y = operation.outputs[0]
    return folded


def _folding(operation: tf.Operation, data: tuple[int, ...], y: tf.Tensor) -> Folded | None:
    """See an operation on y as one that acts on channels alone, if it does."""
    if operation.type in REARRANGING:
        same = operation.outputs[0].shape.rank and operation.outputs[0].shape[-1] == y.shape[-1]
        return Folded(operation, 0, None) if same else None
    if operation.type == "Neg":
        return Folded(operation, 0, tf.constant(-1, y.dtype))
    if operation.type not in ("BiasAdd", "AddV2", "Sub", "Mul", "RealDiv") or len(data) != 1:
        return None
    (position,) = data
    other = operation.inputs[1 - position]
    if not _is_row(other, y):
        return None
    if operation.type == "RealDiv":
        return Folded(operation, 0, 1 / other) if position == 0 else None
    if operation.type == "Sub" and position == 1:
        return Folded(operation, 1, tf.constant(-1, y.dtype))
    return Folded(operation, position, other if operation.type == "Mul" else None)


def _is_row(weights: tf.Tensor, y: tf.Tensor) -> bool:
    """Whether weights are one number, or one for each of the last axis of y."""
    size, channels = weights.shape.num_elements(), y.shape[-1]
    fits = size == 1 or (size is not None and size == channels == weights.shape[-1])
    return fits and weights.shape.rank <= y.shape.rank


def _with_names(steps: list[Step], owners: Owners) -> list[Step]:
    """Name the kernels after their layers, and the sums; each name is unique."""
    kernels = [s for s in steps if s.form is not None]
    owned = {id(s): owners.get(id(_handle_of(s.first.inputs[s.form.kernel]))) for s in kernels}
    variables = {id(variable): layer for layer, variable in filter(None, owned.values())}

    def name(step: Step) -> str:
        if is_sum(step):
            return "sum"
        own = owned.get(id(step))
        if own is None:
            return step.first.name
        layer, variable = own
        namesakes = {id(other) for other in variables.values() if other.name == layer.name}
        unique = layer.name if len(namesakes) == 1 else layer.path
        several = sum(other is layer for other in variables.values()) > 1
        return f"{unique}/{variable.name}" if several else unique

    counted: Counter[str] = Counter()
    named = []
    for step in steps:
        if step.form is not None or is_sum(step):
            base = name(step)
            counted[base] += 1
            step = replace(step, name=f"{base}@{counted[base]}" if counted[base] > 1 else base)
        named.append(step)
    return named


def _handle_of(tensor: tf.Tensor) -> tf.Tensor | None:
    """Give the handle of the variable that a tensor was read from."""
    operation = tensor.op
    while operation.type != "ReadVariableOp":
        if operation.type not in REARRANGING | {"Transpose"}:
            return None
        operation = operation.inputs[0].op
    handle = operation.inputs[0]
    while not hasattr(handle, "numpy"):
        outside = [e for e, inside in handle.graph.captures if inside is handle]
        if not outside:
            return None
        handle = outside[0]
    return handle


def again(operation: tf.Operation, inputs: dict[int, tf.Tensor]) -> tf.Operation:
    """Evaluate an operation once more, with some other inputs."""
    given = [inputs.get(i, t) for i, t in enumerate(operation.inputs)]
    attributes = dict(operation.node_def.attr)
    if "T" in attributes:
        (kind,) = {t.dtype for t in inputs.values()}
        attributes["T"] = type(attributes["T"])(type=kind.as_datatype_enum)
    create = tf.compat.v1.get_default_graph().create_op
    return create(operation.type, given, attrs=attributes)


def gradients(operation: tf.Operation, cotangents: Sequence[tf.Tensor]) -> list:
    """Give TensorFlow's gradients for all inputs of one operation."""
    gradients = get_gradient_function(operation)(operation, *cotangents)
    found = list(gradients) if isinstance(gradients, list | tuple) else [gradients]
    return [g if g is None else tf.convert_to_tensor(g) for g in found]
