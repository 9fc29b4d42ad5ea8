"""What rules are extended to: activations, gates, normalisations by data, products of data.

Each rule says for itself what it does with these (docs/methods.md, Rules beyond ReLU networks).
"""

from __future__ import annotations

import tensorflow as tf

from tfxai.rules.affine import KERNELS
from tfxai.rules.regions import CURVED
from tfxai.rules.rule import Replacement, is_of_a_loop
from tfxai.rules.steps import Step

_SOFTMAX = {"Softmax", "LogSoftmax"}
_PRODUCTS = {*KERNELS, "Einsum", "BatchMatMul", "BatchMatMulV3"}
_WITH_OTHER_WEIGHTS = {"Einsum", "MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"}
_WITH_ORDINARY_GRADIENT = {
    *("Cumsum", "ResizeBicubic", "MatrixBandPart", "ScatterNd", "Prod", "LRN", "Where"),
}
"""Further operations on which nothing is to be said but that they are differentiable."""
_MOVING = {
    *("Identity", "Cast", "EnsureShape", "Reshape", "Squeeze", "ExpandDims", "Transpose", "Split"),
    *("SplitV", "StridedSlice", "Slice", "Unpack", "Pack", "BroadcastTo", "Tile", "GatherV2"),
    *("ConcatV2", "ResizeNearestNeighbor"),
}
"""Operations that move values; what they give is a gate if all that they read is one."""
_OF_ONE_CONSTANT = {"Mul", "RealDiv", "Sub", "AddV2", "Maximum", "Minimum"}


def is_activation(step: Step) -> bool:
    """Whether a step is an activation that is curved, or that of a PReLU."""
    if step.region is not None:
        return not step.region.normalizes
    return step.first.type in CURVED and len(step.data) == 1


def is_normalization(step: Step) -> bool:
    """Whether a step is a normalisation by data."""
    return step.region is not None and step.region.normalizes


def is_softmax(step: Step) -> bool:
    """Whether a step is a softmax, in one operation, or its logarithm."""
    return step.first.type in _SOFTMAX


def is_product_of_matrices(step: Step) -> bool:
    """Whether a step multiplies matrices that both depend on the input, as attention does."""
    return step.region is None and step.first.type in _PRODUCTS and len(step.data) == 2


def is_product_with_weights(step: Step) -> bool:
    """Whether a step multiplies by weights in a way that is no kernel, as some einsums do."""
    is_product = step.region is None and step.first.type in _WITH_OTHER_WEIGHTS
    return is_product and step.form is None and len(step.data) == 1


def is_product(step: Step) -> bool:
    """Whether a step multiplies, or divides, element by element, what depends on the input."""
    return step.region is None and step.first.type in ("Mul", "RealDiv") and len(step.data) == 2


def is_gate(factor: tf.Tensor) -> bool:
    """Whether a factor is a gate: what a sigmoid, a hard sigmoid or a softmax gives.

    It may be moved, scaled, subtracted from a constant (1 - z of a GRU), or masked.
    """
    for _ in range(20):
        operation = factor.op
        if operation.type in ("Sigmoid", "Softmax") or _is_hard_sigmoid(operation):
            return True
        if operation.type in _MOVING:
            position = 1 if operation.type == "Split" else 0
            factor = operation.inputs[position]
        elif operation.type in _OF_ONE_CONSTANT:
            varying = [x for x in operation.inputs if x.shape.rank != 0]
            if len(varying) != 1:
                return False
            (factor,) = varying
        else:
            return False
    return False


def _is_hard_sigmoid(operation: tf.Operation) -> bool:
    """Whether an operation is the scaling of relu6(x + 3) / 6."""
    if operation.type not in ("Mul", "RealDiv"):
        return False
    return any(x.op.type == "Relu6" for x in operation.inputs) and any(
        x.shape.rank == 0 for x in operation.inputs
    )


def gated(step: Step) -> int | None:
    """Give the number, among the factors of a product, of what a gate or an attention multiplies.

    A divisor counts as a gate. None where no factor is a gate, or both are.
    """
    if step.first.type == "RealDiv":
        return 0
    gates = [is_gate(x) for x in step.inputs]
    return gates.index(False) if sum(gates) == 1 else None


def fixed_or_ordinary(step: Step) -> Replacement | None:
    """Hold the statistics of a normalisation; give its ordinary gradient to what else is known.

    Held, a normalisation by data is an affine step of each element, as a batch normalisation is in
    the papers. None for a step that is not known.
    """
    if is_normalization(step):
        return Replacement(
            f"{title(step)}: its statistics are held",
            lambda cotangent: held_statistics(step, cotangent),
            extended=True,
        )
    kinds = {o.type for o in step.operations}
    known = is_activation(step) or is_softmax(step)
    known = known or is_product_of_matrices(step) or is_product_with_weights(step)
    if known or kinds <= _WITH_ORDINARY_GRADIENT:
        return Replacement(f"{title(step)}: ordinary gradient", None, extended=True)
    if is_of_a_loop(step):
        return Replacement(
            "loop that cannot be unrolled: ordinary gradient, whatever activations are in it",
            None,
            extended=True,
        )
    return None


def held_statistics(step: Step, cotangent: tf.Tensor) -> list[tf.Tensor]:
    """Pass a cotangent back through a normalisation whose means and sums are constants."""
    assert step.region is not None
    held = step.region.reductions
    return tf.gradients(step.outputs, step.inputs, [cotangent], stop_gradients=held)


def title(step: Step) -> str:
    """Give the name of an extended step, in the words of the field."""
    if step.region is not None:
        return step.region.name
    if is_product_of_matrices(step):
        return "product of matrices"
    if is_product_with_weights(step):
        return "product with weights that are no kernel"
    return step.first.type.lower()
