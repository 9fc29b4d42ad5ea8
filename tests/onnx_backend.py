"""ONNX's own test cases of single operations, put to the importer.

A case is a model of one operation (or of the operations that define it), inputs, and the outputs
that ONNX's authors wrote down. All of its operands are inputs there; here one or several are the
inputs of a network, with the batch as their first axis, and the others constants.
"""

import contextlib
import textwrap
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

from tests.onnx_models import last, run
from tfxai.converters import UnsupportedError, from_onnx
from tfxai.converters.build import is_channels_first
from tfxai.converters.reader import read_graph

REAL = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
REFUSALS = (
    "which have no gradient",
    "does not depend on the input",
    "single number",
    "opset 8",
    "pass input_shape",
)
"""Parts of the errors for models, not nodes, that the importer refuses."""
OUTCOMES = ("passed", "refused", "wrong", "crashed")


class Outcome(NamedTuple):
    """What became of a case."""

    name: str
    op: str
    state: str
    """One of `OUTCOMES`."""
    message: str


def cases():
    """The cases of operations on floating-point tensors that ONNX itself defines, by name."""
    return {c.name: c for c in load_model_tests(kind="node") if _is_for_networks(c)}


def operation(case):
    """The operation that a case is about; for a case written in other operations, those."""
    return "/".join(sorted({node.op_type for node in case.model.graph.node}))


def outcome(case):
    """Put a case to the importer, with each choice of inputs; the worst outcome counts."""
    results = [_tried(case, names) for names in _choices(case)]
    for state in ("crashed", "wrong", "passed", "refused"):
        for found, message in results:
            if found == state:
                return Outcome(case.name, operation(case), state, message)
    raise AssertionError(case.name)


def table(outcomes):
    """The number of outcomes of each kind, by operation."""
    counts = defaultdict(Counter)
    for item in outcomes:
        counts[item.op][item.state] += 1
    return {op: [counts[op][state] for state in OUTCOMES] for op in sorted(counts)}


def _is_for_networks(case):
    graph, domains = case.model.graph, {o.domain for o in case.model.opset_import}
    kinds = [value.type.WhichOneof("value") for value in (*graph.input, *graph.output)]
    types = [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)]
    return (
        domains <= {"", "ai.onnx"}
        and set(kinds) == {"tensor_type"}
        and TensorProto.STRING not in types
        and any(value.type.tensor_type.elem_type in REAL for value in graph.input)
        and graph.output[0].type.tensor_type.elem_type in REAL
    )


def _choices(case):
    """Give sets of names that may be the inputs: the first one alone, and all of one batch."""
    arrays = _arrays(case)
    real = [
        value.name
        for value in case.model.graph.input
        if value.type.tensor_type.elem_type in REAL and arrays[value.name].ndim
    ]
    if not real:
        return [[case.model.graph.input[0].name]]
    size = len(arrays[real[0]])
    together = [name for name in real if len(arrays[name]) == size]
    return [real[:1], *([together] if len(together) > 1 else [])]


def _arrays(case):
    (inputs, _), *_ = case.data_sets
    arrays = [numpy_helper.to_array(x) if isinstance(x, TensorProto) else x for x in inputs]
    names = (value.name for value in case.model.graph.input)
    return dict(zip(names, map(np.asarray, arrays), strict=True))


def _tried(case, names):
    """Give the outcome, and what is to be said of it, where some of the operands are inputs."""
    arrays, proto = _arrays(case), onnx.ModelProto()
    proto.CopyFrom(case.model)
    for value in list(proto.graph.input):
        if value.name not in names:
            proto.graph.input.remove(value)
            tensor = numpy_helper.from_array(arrays[value.name], value.name)
            proto.graph.initializer.append(tensor)
    for value in proto.graph.input:
        del value.type.tensor_type.shape.dim[:]
        value.type.CopyFrom(
            helper.make_tensor_type_proto(
                value.type.tensor_type.elem_type, (None, *arrays[value.name].shape[1:])
            )
        )
    try:
        net = from_onnx(proto)
        found = _run(net, read_graph(proto), [arrays[v.name] for v in proto.graph.input])
    except UnsupportedError as error:
        return "refused", str(error)
    except ValueError as error:
        refused = any(text in str(error) for text in REFUSALS)
        return ("refused" if refused else "crashed"), repr(error)
    except Exception as error:
        return "crashed", repr(error)
    wanted = [numpy_helper.to_array(y) if isinstance(y, TensorProto) else y for y in _outputs(case)]
    outcome = _compared(wanted, found)
    if outcome[0] == "wrong":  # some cases give few digits of what they expect
        with contextlib.suppress(Exception):
            outcome = min(outcome, _compared(run(case.model, *arrays.values()), found))
    return outcome


def _run(net, graph, arrays):
    """The outputs for all examples at once, and for the first one alone."""
    turned = [
        last(x.astype("float32")) if is_channels_first(graph, item) else x.astype("float32")
        for item, x in zip(graph.inputs, arrays, strict=True)
    ]
    results = []
    for batch in (turned, [x[:1] for x in turned]):
        outputs = net(batch if len(batch) > 1 else batch[0])
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        results.append([np.asarray(y) for y in outputs])
    return results


def _outputs(case):
    (_, outputs), *_ = case.data_sets
    return outputs


def _compared(expected, results):
    """Give the outcome for the outputs of all examples, and of the first one alone."""
    for found, rows in zip(results, (None, 1), strict=True):
        for x, whole in zip(found, map(np.asarray, expected), strict=True):
            tolerance = 1e-5 if whole.dtype in (np.float32, np.float64) else 1e-2
            y = whole.astype("float64")
            y = y[:rows] if y.ndim else y
            views = [view for view in (y, last(y)) if view.shape == x.shape]
            size = max(np.abs(y[np.isfinite(y)]).max(initial=0), 1)
            near = {"rtol": 0, "atol": tolerance * size, "equal_nan": True}
            if not any(np.allclose(x, view, **near) for view in views):
                return "wrong", f"shapes {x.shape} and {y.shape}, {rows or 'all'} examples"
    return "passed", ""


PAGE = Path(__file__).parents[1] / "docs" / "importing.md"
START, END = "<!-- written by tests/onnx_backend.py -->", "<!-- to here -->"


def written(outcomes):
    """The table of the page on the importer."""
    lines = ["| operation | passed | refused |", "|---|---|---|"]
    rows = table(item for item in outcomes if "/" not in item.op)
    known = {op: row for op, row in rows.items() if row[0]}
    lines += [f"| {op} | {row[0]} | {row[1]} |" for op, row in known.items()]
    counts = Counter(item.state for item in outcomes)
    total = sum(counts.values())
    head = f"Of {total} cases {counts['passed']} pass and {counts['refused']} are refused, "
    head += f"{counts['wrong']} are wrong, {counts['crashed']} end in an error of another kind."
    others = [op for op in rows if op not in known]
    tail = f"Refused in all their cases: {', '.join(others)}."
    return "\n".join([head, "", *lines, "", *textwrap.wrap(tail, 100)])


if __name__ == "__main__":
    before, rest = PAGE.read_text().split(START)
    found = written([outcome(case) for case in cases().values()])
    PAGE.write_text(f"{before}{START}\n{found}\n{END}{rest.split(END)[1]}")
