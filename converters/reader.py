"""Reading ONNX files: what is in them, or what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper, helper, inliner, numpy_helper

from .onnx_graph import Graph, Input, Node, UnsupportedError

OLDEST = 9
"""Opsets before it leave shapes and broadcasting to attributes that have since gone."""


def loaded(source: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    """Give the model in a file with all its weights, or one that is loaded as it is.

    Raises:
        FileNotFoundError: no such file, or one with its weights is missing.
        ValueError: no ONNX model, or one that breaks ONNX's rules.
    """
    return source if isinstance(source, onnx.ModelProto) else _from_file(Path(source))


def read(source: str | Path | onnx.ModelProto) -> Graph:
    """Read a model from a file, or from a proto that is complete.

    Raises:
        FileNotFoundError: no such file, or one with its weights is missing.
        UnsupportedError: control flow, a training graph.
        ValueError: no ONNX model, or one that breaks ONNX's rules; an opset below 9.
    """
    proto = loaded(source)
    opsets = {opset.domain: opset.version for opset in proto.opset_import}
    opset = opsets.get("", opsets.get("ai.onnx", 0))
    if opset < OLDEST:
        raise ValueError(
            f"the model follows opset {opset}; export it with opset {OLDEST} or later, or convert "
            "it by onnx.version_converter"
        )
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    graph = proto.graph
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise ValueError(f"the constant {name!r} is sparse; export the model with dense weights")
    constants = {tensor.name: _array(tensor) for tensor in graph.initializer}
    every = [_node(node, opset) for node in graph.node]
    for node in every:
        _check_inference(node, constants)
        if node.op == "Constant":
            constants[node.outputs[0]] = np.asarray(*node.attributes.values())
    nodes = tuple(node for node in every if node.op != "Constant")
    return Graph(
        name=graph.name,
        inputs=inputs(proto),
        outputs=tuple(value.name for value in graph.output),
        nodes=nodes,
        constants=constants,
        opset=opset,
    )


def inputs(proto: onnx.ModelProto) -> tuple[Input, ...]:
    """Give the inputs that are no weights.

    Raises:
        ValueError: one is no tensor.
    """
    known = {tensor.name for tensor in proto.graph.initializer}
    return tuple(_input(value) for value in proto.graph.input if value.name not in known)


def _from_file(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        proto = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(proto if _is_whole(proto) else _beside(path, proto))
    except DecodeError as error:
        raise ValueError(f"{path} is not an ONNX file, or is cut short: {error}") from error
    except onnx.checker.ValidationError as error:
        raise ValueError(f"{path} is not a valid ONNX model: {error}") from error
    external_data_helper.load_external_data_for_model(proto, str(path.parent))
    return proto


def _is_whole(proto: onnx.ModelProto) -> bool:
    return not any(map(external_data_helper.uses_external_data, proto.graph.initializer))


def _beside(path: Path, proto: onnx.ModelProto) -> str:
    """See that the files with the weights are there, so that the checker finds them by the path."""
    for tensor in proto.graph.initializer:
        if external_data_helper.uses_external_data(tensor):
            place = external_data_helper.ExternalDataInfo(tensor).location
            if not (path.parent / place).is_file():
                raise FileNotFoundError(
                    f"{path} keeps the weights {tensor.name!r} in {place!r}, which is missing "
                    "beside it; keep the two files together"
                )
    return str(path)


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    """Give a constant; reals of fewer bits than float32 become that, as the layers have it."""
    array = numpy_helper.to_array(tensor)
    short = array.dtype.isbuiltin != 1 or array.dtype == np.float16
    return array.astype(np.float32) if short else array


def _node(node: onnx.NodeProto, opset: int) -> Node:
    outputs = tuple(node.output)
    domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}."
    name = node.name or next(filter(None, outputs), node.op_type)
    bare = Node(domain + node.op_type, name, tuple(node.input), outputs, {}, opset)
    return bare._replace(attributes={a.name: _attribute(a, bare) for a in node.attribute})


def _attribute(attribute: onnx.AttributeProto, node: Node) -> Any:
    if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
        raise UnsupportedError(
            node,
            "control flow, which layers cannot express",
            "export the model with the branch or loop resolved, for a fixed input size",
        )
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    return _array(value) if isinstance(value, onnx.TensorProto) else value


def _check_inference(node: Node, constants: dict[str, np.ndarray]) -> None:
    training = node.attributes.get("training_mode", 0)
    if node.op == "Dropout" and len(node.inputs) > 2 and node.inputs[2]:
        training = constants.get(node.inputs[2], True)
    if training:
        raise UnsupportedError(node, "a training graph", "call model.eval() before the export")


def _input(value: onnx.ValueInfoProto) -> Input:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise ValueError(f"the input {value.name!r} is no tensor of a known rank")
    shape = tuple(
        axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else None
        for axis in kind.shape.dim
    )
    return Input(value.name, shape, np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)))
