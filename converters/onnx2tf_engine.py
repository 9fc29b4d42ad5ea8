"""onnx2tf in a process of its own, for what the importer does not know.

It changes global state, may write over its input and may download data, so it gets a copy of the
file in a folder that is thrown away.
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

from .build import InputShape, shape_of_example
from .layout import as_keras
from .reader import inputs

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


def converted(proto: onnx.ModelProto, input_shape: InputShape | None) -> keras.Model:
    """Convert a model that is complete, with external data in it.

    Raises:
        ImportError: onnx2tf is not installed.
        ValueError: onnx2tf cannot convert it.
    """
    if importlib.util.find_spec("onnx2tf") is None:
        raise ImportError("engine='onnx2tf' needs more: pip install 'tfxai[onnx2tf]'")
    with tempfile.TemporaryDirectory() as folder:
        file, target = Path(folder) / "model.onnx", Path(folder) / "saved"
        onnx.save(_of_size(proto, input_shape), file)
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(file), str(target)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode or not (target / "saved_model.pb").is_file():
            told = (ran.stderr or ran.stdout).strip().splitlines()[-3:]
            raise ValueError(f"onnx2tf cannot convert {proto.graph.name!r}: {' / '.join(told)}")
        return _model(target, proto.graph.name)


def _of_size(proto: onnx.ModelProto, input_shape: InputShape | None) -> onnx.ModelProto:
    """Give a copy in which all sizes but that of the batch are known."""
    sized = onnx.ModelProto()
    sized.CopyFrom(proto)
    every = inputs(proto)
    shapes = {one.name: shape_of_example(every, one, input_shape) for one in every}
    for value in sized.graph.input:
        if value.name in shapes:
            axes = list(value.type.tensor_type.shape.dim)[1:]
            for axis, size in zip(axes, shapes[value.name], strict=True):
                axis.dim_value = size
    return sized


def _model(folder: Path, name: str) -> keras.Model:
    function = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = function.structured_outputs
    specs = function.structured_input_signature[1]
    outputs = [found[key].shape.as_list() for key in sorted(found)]
    one_by_one = any(shape[0] == 1 for shape in (*outputs, *(s.shape for s in specs.values())))
    layer = SavedGraph([shape[1:] for shape in outputs], one_by_one, name="graph")
    layer.load(folder)
    given = [keras.Input(spec.shape[1:], name=key) for key, spec in specs.items()]
    results = layer(as_keras(given))
    return keras.Model(as_keras(given), as_keras(results), name=name or "model")
