"""`write_out_functions`: operations that ONNX defines by others are replaced by these."""

from __future__ import annotations

import onnx
from onnx import defs, helper, inliner, shape_inference

FUNCTIONS = (
    *("Attention", "MeanVarianceNormalization", "RotaryEmbedding", "Shrink", "Swish"),
    "ThresholdedRelu",
)
"""The operations that are replaced; others that ONNX defines by loops or sequences are not."""
OWN_DOMAINS = ("", "ai.onnx")
"""The domains of ONNX's own operations."""


def write_out_functions(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Give a model with each of `FUNCTIONS` written out; without any it is given back itself."""
    own = [node.op_type for node in proto.graph.node if node.domain in OWN_DOMAINS]
    used = [("", name) for name in FUNCTIONS if name in own]
    if not used:
        return proto
    typed = onnx.ModelProto()
    typed.CopyFrom(proto)
    declared = {value.name for value in typed.graph.input}
    typed.graph.value_info.extend(  # how some are written out depends on the types of operands
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in typed.graph.initializer
        if tensor.name not in declared
    )
    for node in typed.graph.node:
        if ("", node.op_type) in used and node.domain in OWN_DOMAINS:
            _fill_defaults(node, typed)
    typed = shape_inference.infer_shapes(typed)
    try:
        return inliner.inline_selected_functions(typed, used, inline_schema_functions=True)
    except RuntimeError:  # it does not know left-out operands between others: they are refused
        return proto


def _fill_defaults(node: onnx.NodeProto, proto: onnx.ModelProto) -> None:
    """Add the attributes that a node leaves at their defaults, which the inliner does not know."""
    opset = next(o.version for o in proto.opset_import if o.domain in OWN_DOMAINS)
    given = {attribute.name for attribute in node.attribute}
    for name, attribute in defs.get_schema(node.op_type, opset).attributes.items():
        if name not in given and attribute.default_value.type:
            node.attribute.append(attribute.default_value)
