"""The steps of a network: the operations of its traced graph, with affine ones folded into kernels.

The traced graph shows every operation, however the model was written. A kernel (a convolution or a
matrix product with weights) and the affine operations that follow it channel by channel, such as a
bias and a batch normalisation, are one step: y = W'^T x + b' with W' = W s. An activation or a
normalisation by data that is written in several operations is one step, too, where this is wanted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.ops import get_gradient_function

from tfxai.models.unrolled_loops import origin
from tfxai.rules.affine import REARRANGING, Folded, KernelForm, foldable_after, kernel_form
from tfxai.rules.regions import Region, find_regions

_CONSTANT = ("StopGradient", "ZerosLike", "OnesLike")
"""Operations whose results have no gradient."""
Owners = dict[int, tuple]
"""The identity of a variable's handle -> (layer, variable), as `keras_graph.owners` gives them."""


@dataclass(frozen=True, eq=False)
class Step:
    """One operation, a kernel and the affine operations folded into it, or a region."""

    first: tf.Operation
    """The kernel, the only operation, or the last operation of a region."""
    data: tuple[int, ...]
    """The numbers of the first operation's inputs that depend on the network's input."""
    form: KernelForm | None = None
    """Where a kernel takes its data and weights; None for any other operation."""
    folded: tuple[Folded, ...] = ()
    """The operations after a kernel that are folded into it."""
    name: str = ""
    """The name of a kernel or sum, "" for other steps. A kernel has its layer's name,
    "sep/pointwise_kernel" if the layer has several kernels, or "kernel" if its weights belong to no
    layer. A sum has the name "sum". The second step of a name is "conv@2", as for the second call
    of a layer. An operation of a loop has one name in all steps of the loop."""
    variable: Any = None
    """The variable of a kernel's weights, where there is one."""
    region: Region | None = None
    """The activation or normalisation that the step is, if it has several operations."""

    @property
    def title(self) -> str:
        """The name of the last operation of a region, or else of the first, as in the model."""
        return origin(self.first) or self.first.name

    @property
    def operations(self) -> list[tf.Operation]:
        """All operations of the step."""
        if self.region is not None:
            return list(self.region.operations)
        return [self.first, *(f.operation for f in self.folded)]

    @property
    def inputs(self) -> list[tf.Tensor]:
        """The inputs that depend on the network's input."""
        if self.region is not None:
            return [self.region.source]
        return [self.first.inputs[i] for i in self.data]

    @property
    def outputs(self) -> list[tf.Tensor]:
        """The outputs of the last operation."""
        if self.region is not None:
            return [self.first.outputs[0]]
        return list((self.folded[-1].operation if self.folded else self.first).outputs)

    def gradient(self, cotangents: Sequence[tf.Tensor]) -> list[tf.Tensor | None]:
        """Pass cotangents of the outputs back to the inputs, as differentiation does."""
        if self.region is not None:
            return tf.gradients(self.outputs, self.inputs, list(cotangents))
        for folded in reversed(self.folded):
            cotangents = [gradients(folded.operation, cotangents)[folded.data]]
        input_gradients = gradients(self.first, cotangents)
        return [input_gradients[i] for i in self.data]


def is_sum(step: Step) -> bool:
    """Whether a step adds or subtracts several inputs, channel by channel."""
    if step.region is not None:
        return False
    adds = step.first.type in ("Add", "AddV2", "AddN", "Sub") and len(step.data) > 1
    return adds and step.outputs[0].shape.rank is not None and bool(step.outputs[0].shape[-1])


def steps_between(
    inputs: Sequence[tf.Tensor],
    outputs: Iterable[tf.Tensor],
    owners: Owners | None = None,
    *,
    regions: bool = False,
) -> list[Step]:
    """List the steps that lead from inputs to outputs, in their order of evaluation.

    Args:
        inputs: symbolic tensors of the current graph.
        outputs: tensors computed from the inputs; none of them lies inside a step.
        owners: the layers and variables after which kernels are named.
        regions: whether an activation or a normalisation of several operations is one step.
    """
    stops = {t.ref() for t in outputs}
    operations, data = _path(inputs, stops)
    consumers: dict = {}
    for operation in operations:
        for i in data[operation.name]:
            consumers.setdefault(operation.inputs[i].ref(), []).append(operation)
    steps: list[Step] = []
    found = find_regions(operations, data, stops) if regions else {}
    folded_names = {o.name for region in found.values() for o in region.operations}
    for operation in operations:
        if operation.name in found:
            steps.append(Step(operation, (0,), region=found[operation.name]))
        elif operation.name not in folded_names:
            form = kernel_form(operation, data[operation.name])
            folded = foldable_after(operation, consumers, data, stops) if form else []
            folded_names.update(f.operation.name for f in folded)
            steps.append(Step(operation, data[operation.name], form, tuple(folded)))
    return _with_names(steps, owners or {})


def _path(inputs: Sequence[tf.Tensor], stops: set) -> tuple[list[tf.Operation], dict]:
    """Give the operations that lead from the inputs to `stops`, and what data they read.

    The second is a dict: an operation's name -> the numbers of its inputs that are data.
    """
    reached = {t.ref() for t in inputs}
    dependent, data = [], {}
    for operation in inputs[0].graph.get_operations():  # created in an order of evaluation
        positions = tuple(i for i, t in enumerate(operation.inputs) if t.ref() in reached)
        if positions and operation.type not in _CONSTANT:
            carrying = [t for t in operation.outputs if carries_gradients(t.dtype)]
            reached.update(t.ref() for t in carrying)
            if carrying:
                dependent.append(operation)
                data[operation.name] = positions
    needed, between = set(stops), []
    for operation in reversed(dependent):
        if any(t.ref() in needed for t in operation.outputs):
            between.append(operation)
            needed.update(operation.inputs[i].ref() for i in data[operation.name])
    return between[::-1], data


def carries_gradients(dtype: tf.DType) -> bool:
    """Whether gradients flow through tensors of a type; variants are the lists that loops keep."""
    return dtype.is_floating or dtype.is_complex or dtype == tf.variant


def _with_names(steps: list[Step], owners: Owners) -> list[Step]:
    """Name the kernels after their layers, and the sums; each name is unique."""
    kernels = [(s, s.form) for s in steps if s.form is not None]
    owned = {id(s): _owner(s.first.inputs[f.kernel], owners) for s, f in kernels}
    variables = {id(variable): layer for layer, variable in filter(None, owned.values())}

    def name(step: Step) -> str:
        if is_sum(step):
            return "sum"
        own = owned.get(id(step))
        if own is None:
            return "kernel"
        layer, variable = own
        namesakes = {id(other) for other in variables.values() if other.name == layer.name}
        unique = layer.name if len(namesakes) == 1 else layer.path
        several = sum(other is layer for other in variables.values()) > 1
        return f"{unique}/{variable.name}" if several else unique

    counted: Counter[str] = Counter()
    named, in_loops = [], {}
    for step in steps:
        if step.form is not None or is_sum(step):
            _, variable = owned.get(id(step)) or (None, None)
            key = _in_loop(step)
            if key is None or key not in in_loops:
                base = name(step)
                counted[base] += 1
                unique = f"{base}@{counted[base]}" if counted[base] > 1 else base
                in_loops[key] = unique
            else:
                unique = in_loops[key]
            step = replace(step, name=unique, variable=variable)
        named.append(step)
    return named


def _in_loop(step: Step) -> tuple | None:
    """Give what is the same for a step of an unrolled loop and for those of its other steps."""
    origins = tuple(origin(o) for o in step.operations)
    return None if None in origins else (origins, step.data)


def _owner(tensor: tf.Tensor, owners: Owners) -> tuple | None:
    """Give the layer and the variable from which a tensor was read, None if there is none."""
    while id(tensor) not in owners:
        if hasattr(tensor, "numpy"):
            return None
        if tensor.op.type in REARRANGING | {"Transpose", "ReadVariableOp"}:
            tensor = tensor.op.inputs[0]
            continue
        captured = [outer for outer, inner in tensor.graph.captures if inner is tensor]
        if not captured:
            return None
        tensor = captured[0]
    return owners[id(tensor)]


def rerun(operation: tf.Operation, inputs: dict[int, tf.Tensor]) -> tf.Operation:
    """Evaluate an operation once more, with other tensors for some of its inputs.

    Args:
        operation: the operation to copy, with its gradient.
        inputs: the number of an input -> the tensor that takes its place; all have one data type.
    """
    all_inputs = [inputs.get(i, t) for i, t in enumerate(operation.inputs)]
    attributes = dict(operation.node_def.attr)
    if "T" in attributes:
        (dtype,) = {t.dtype for t in inputs.values()}
        attributes["T"] = type(attributes["T"])(type=dtype.as_datatype_enum)
    create = tf.compat.v1.get_default_graph().create_op
    copy = create(operation.type, all_inputs, attrs=attributes)
    copy._gradient_function = operation._gradient_function
    return copy


def gradients(operation: tf.Operation, cotangents: Sequence[tf.Tensor]) -> list:
    """Give TensorFlow's gradient for each input of one operation, None where there is none."""
    result = get_gradient_function(operation)(operation, *cotangents)
    each = list(result) if isinstance(result, list | tuple) else [result]
    return [g if g is None else tf.convert_to_tensor(g) for g in each]
