"""The converter onnx2tf, in a process of its own, for operations that the importer does not know.

onnx2tf changes global state, may overwrite its input and may download data. Therefore it gets a
copy of the file, in a temporary folder.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import onnx
import tensorflow as tf

from tfxai.models.converted_layers import SavedGraph

from .build import InputShape, example_shape
from .layout import single_or_list
from .reader import graph_inputs

PROGRAM = """
import sys
import onnx2tf
onnx2tf.convert(
    input_onnx_file_path=sys.argv[1],
    output_folder_path=sys.argv[2],
    output_signaturedefs=True,
    not_use_onnxsim=True,
    non_verbose=True,
)
"""


def convert_by_onnx2tf(proto: onnx.ModelProto, input_shape: InputShape | None) -> keras.Model:
    """Convert a model to a Keras model of one layer, a `SavedGraph`.

    Args:
        proto: the model, with external data loaded into it.
        input_shape: the sizes of inputs that the file leaves open.

    Raises:
        ImportError: onnx2tf is not installed.
        ValueError: onnx2tf cannot convert the model.
    """
    if importlib.util.find_spec("onnx2tf") is None:
        raise ImportError("engine='onnx2tf' needs more: pip install 'tfxai[onnx2tf]'")
    with tempfile.TemporaryDirectory() as folder:
        file, target = Path(folder) / "model.onnx", Path(folder) / "saved"
        onnx.save(_with_sizes(proto, input_shape), file)
        process = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(file), str(target)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode or not (target / "saved_model.pb").is_file():
            last_lines = (process.stderr or process.stdout).strip().splitlines()[-3:]
            raise ValueError(
                f"onnx2tf cannot convert {proto.graph.name!r}: {' / '.join(last_lines)}"
            )
        return _keras_model(target, proto.graph.name)


def _with_sizes(proto: onnx.ModelProto, input_shape: InputShape | None) -> onnx.ModelProto:
    """Give a copy in which all sizes of inputs are known, except the size of the batch."""
    sized = onnx.ModelProto()
    sized.CopyFrom(proto)
    inputs = graph_inputs(proto)
    shapes = {item.name: example_shape(inputs, item, input_shape) for item in inputs}
    for value in sized.graph.input:
        if value.name in shapes:
            axes = list(value.type.tensor_type.shape.dim)[1:]
            for axis, size in zip(axes, shapes[value.name], strict=True):
                axis.dim_value = size
    return sized


def _keras_model(folder: Path, name: str) -> keras.Model:
    """Give the SavedModel in a folder as a Keras model of one layer."""
    function = tf.saved_model.load(str(folder)).signatures["serving_default"]
    output_specs = function.structured_outputs
    input_specs = function.structured_input_signature[1]
    output_shapes = [output_specs[key].shape.as_list() for key in sorted(output_specs)]
    shapes = (*output_shapes, *(spec.shape for spec in input_specs.values()))
    one_by_one = any(shape[0] == 1 for shape in shapes)
    layer = SavedGraph([shape[1:] for shape in output_shapes], one_by_one, name="graph")
    layer.load(folder)
    inputs = [keras.Input(spec.shape[1:], name=key) for key, spec in input_specs.items()]
    outputs = layer(single_or_list(inputs))
    return keras.Model(single_or_list(inputs), single_or_list(outputs), name=name or "model")
