"""`read_graph`: an ONNX file as a graph in plain Python, or an error that says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper, helper, inliner, numpy_helper

from .functions import write_out_functions
from .onnx_graph import Graph, GraphInput, Node, UnsupportedError

OLDEST_OPSET = 9
"""Older opsets describe shapes and broadcasting by attributes that ONNX has since dropped."""


def load_proto(source: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    """Load a model with all its weights from a file; a model that is loaded already is given back.

    Raises:
        FileNotFoundError: the file, or a file with its weights, is missing.
        ValueError: the file is no ONNX model, or breaks ONNX's rules.
    """
    return source if isinstance(source, onnx.ModelProto) else _from_file(Path(source))


def read_graph(source: str | Path | onnx.ModelProto) -> Graph:
    """Read a model from a file, or from a proto with all its weights.

    Functions, of the file or of ONNX, are written out in the operations that define them.

    Raises:
        FileNotFoundError: the file, or a file with its weights, is missing.
        UnsupportedError: control flow, or a training graph.
        ValueError: the file is no ONNX model or breaks ONNX's rules, or its opset is below 9.
    """
    proto = load_proto(source)
    opsets = {opset.domain: opset.version for opset in proto.opset_import}
    opset = opsets.get("", opsets.get("ai.onnx", 0))
    if opset < OLDEST_OPSET:
        raise ValueError(
            f"the model follows opset {opset}; export it with opset {OLDEST_OPSET} or later, or "
            "convert it by onnx.version_converter"
        )
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    proto = write_out_functions(proto)
    graph = proto.graph
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise ValueError(f"the constant {name!r} is sparse; export the model with dense weights")
    constants = {tensor.name: _array(tensor) for tensor in graph.initializer}
    nodes = [_node(node, opset) for node in graph.node]
    for node in nodes:
        _check_inference(node, constants)
        if node.op == "Constant":
            constants[node.outputs[0]] = np.asarray(*node.attributes.values())
    return Graph(
        name=graph.name,
        inputs=graph_inputs(proto),
        outputs=tuple(value.name for value in graph.output),
        nodes=tuple(node for node in nodes if node.op != "Constant"),
        constants=constants,
        opset=opset,
    )


def graph_inputs(proto: onnx.ModelProto) -> tuple[GraphInput, ...]:
    """Give the inputs of a model; old files list weights among them, which are left out.

    Raises:
        ValueError: an input is no tensor.
    """
    weights = {tensor.name for tensor in proto.graph.initializer}
    return tuple(_input(value) for value in proto.graph.input if value.name not in weights)


def _from_file(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        proto = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(proto if _is_one_file(proto) else _with_weight_files(path, proto))
    except DecodeError as error:
        raise ValueError(f"{path} is not an ONNX file, or is cut short: {error}") from error
    except onnx.checker.ValidationError as error:
        raise ValueError(f"{path} is not a valid ONNX model: {error}") from error
    external_data_helper.load_external_data_for_model(proto, str(path.parent))
    return proto


def _is_one_file(proto: onnx.ModelProto) -> bool:
    return not any(map(external_data_helper.uses_external_data, proto.graph.initializer))


def _with_weight_files(path: Path, proto: onnx.ModelProto) -> str:
    """Check that the files with weights are there; give the path, by which ONNX finds them."""
    for tensor in proto.graph.initializer:
        if external_data_helper.uses_external_data(tensor):
            name = external_data_helper.ExternalDataInfo(tensor).location
            if not (path.parent / name).is_file():
                raise FileNotFoundError(
                    f"{path} keeps the weights {tensor.name!r} in {name!r}, which is missing "
                    "beside it; keep the two files together"
                )
    return str(path)


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    """Give a constant; real numbers of fewer than 32 bits become float32, the layers' type."""
    array = numpy_helper.to_array(tensor)
    is_short = array.dtype.isbuiltin != 1 or array.dtype == np.float16
    return array.astype(np.float32) if is_short else array


def _node(node: onnx.NodeProto, opset: int) -> Node:
    outputs = tuple(node.output)
    domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}."
    name = node.name or next(filter(None, outputs), node.op_type)
    converted = Node(domain + node.op_type, name, tuple(node.input), outputs, {}, opset)
    attributes = {a.name: _attribute(a, converted) for a in node.attribute}
    return converted._replace(attributes=attributes)


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
    """Raise an UnsupportedError for a dropout in training mode."""
    flag = node.inputs[2] if node.op == "Dropout" and len(node.inputs) > 2 else ""
    if flag and (flag not in constants or constants[flag]):
        raise UnsupportedError(node, "a training graph", "call model.eval() before the export")


def _input(value: onnx.ValueInfoProto) -> GraphInput:
    tensor_type = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor_type.HasField("shape"):
        raise ValueError(f"the input {value.name!r} is no tensor of a known rank")
    shape = tuple(
        axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else None
        for axis in tensor_type.shape.dim
    )
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor_type.elem_type))
    return GraphInput(value.name, shape, dtype)
