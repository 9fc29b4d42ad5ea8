"""How close a Keras model is to the ONNX model that it was made of."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import onnxruntime
import tensorflow as tf

from .gradients import against_torch, along_lines
from .layout import as_keras
from .onnx_session import OnnxFile, digest

if TYPE_CHECKING:
    import torch

OUTPUT_TOLERANCE = 1e-4
"""Largest error of an output, in units of the largest output; networks in float32 reach 1e-5."""
GRADIENT_TOLERANCE = 0.05
"""Largest error of gradients, relative. In ReLU networks 0.02 is reached: few neurons decide the
difference between two inputs, and an exporter's rounding of weights switches some."""


@dataclass(frozen=True)
class Certificate:
    """What was compared, and how well the two models agree."""

    model: str
    source: str
    sha256: str
    """Of the .onnx file and that of its weights."""
    weights_sha256: str
    """Of the Keras model's weights."""
    opset: int
    operations: dict[str, int]
    """How often each occurs in the file."""
    samples: int
    seed: int
    max_absolute_error: float
    max_relative_error: float
    """In units of the largest output."""
    argmax_agreement: float
    """Share of the samples with the same largest output."""
    gradient_error: float
    """Relative error, by `gradient_reference`."""
    gradient_reference: str
    """What the gradients were compared with."""
    versions: dict[str, str]

    @property
    def holds(self) -> bool:
        """Whether the two models compute the same."""
        return (
            self.max_relative_error <= OUTPUT_TOLERANCE
            and self.gradient_error <= GRADIENT_TOLERANCE
            and self.argmax_agreement == 1
        )

    def lines(self) -> dict[str, str]:
        """Give what people read, as text by name."""
        operations = ", ".join(f"{name} {count}" for name, count in self.operations.items())
        return {
            "holds": "yes" if self.holds else "NO",
            "outputs": f"off by {self.max_relative_error:.1e} of the largest, in {self.samples} "
            f"samples (at most {OUTPUT_TOLERANCE:g})",
            "same class": f"{self.argmax_agreement:.0%}",
            "gradients": f"off by {self.gradient_error:.1e} (at most {GRADIENT_TOLERANCE:g}), "
            f"against {self.gradient_reference}",
            "opset": str(self.opset),
            "operations": operations,
            "sha256": self.sha256,
        }

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        text = json.dumps({**asdict(self), "holds": self.holds}, indent=2)
        Path(path).write_text(text + "\n", encoding="utf-8")


def certify(
    model: keras.Model,
    onnx_path: str | Path,
    *,
    samples: int = 8,
    seed: int = 0,
    module: torch.nn.Module | None = None,
) -> Certificate:
    """Compare a Keras model with the ONNX file that it was made of, on normal noise.

    Outputs are compared with onnxruntime's. Gradients are compared with those of the PyTorch
    module in float64, if it is given. Else the gradient's integral between two inputs near a
    sample is compared with the difference of onnxruntime's outputs there, to which it is equal.

    Args:
        model: a Keras model with the file's inputs, images channels-last.
        onnx_path: the file.
        samples: how many inputs are drawn.
        seed: of the inputs.
        module: what the file was exported from.

    Returns:
        A Certificate; its `holds` says whether the two models compute the same.

    Raises:
        FileNotFoundError, ValueError: the file is missing or no ONNX model.
        ValueError: the model has other inputs or outputs than the file.
    """
    random, file = np.random.default_rng(seed), OnnxFile.of(onnx_path, model)
    inputs = [random.standard_normal((samples, *x.shape[1:])) for x in model.inputs]
    outputs = [y.numpy() for y in tf.nest.flatten(model(as_keras(inputs)))]
    file, expected = file.with_outputs_like(inputs, outputs)
    weights = [random.standard_normal(output.shape[1:]) for output in outputs]
    if module is None:
        directions = [random.standard_normal(x.shape) for x in inputs]
        error = along_lines(model, file, inputs, directions, weights)
        reference = "differences of onnxruntime's outputs"
    else:
        error = against_torch(model, module, file, inputs, weights)
        reference = "PyTorch in float64"
    pairs = list(zip(outputs, expected, strict=True))
    largest = max(float(np.abs(y).max()) for _, y in pairs)
    absolute = max(float(np.abs(x - y).max()) for x, y in pairs)
    first, second = (pair.reshape(samples, -1).argmax(1) for pair in pairs[0])
    return Certificate(
        model=model.name,
        source=Path(onnx_path).name,
        sha256=digest(onnx_path),
        weights_sha256=_weights_digest(model),
        opset=file.graph.opset,
        operations=dict(Counter(node.op for node in file.graph.nodes).most_common()),
        samples=samples,
        seed=seed,
        max_absolute_error=absolute,
        max_relative_error=absolute / largest if largest else absolute,
        argmax_agreement=float((first == second).mean()),
        gradient_error=error,
        gradient_reference=reference,
        versions={m.__name__: m.__version__ for m in (keras, tf, onnxruntime)},
    )


def _weights_digest(model: keras.Model) -> str:
    found = hashlib.sha256()
    for weight in model.weights:
        found.update(weight.numpy().tobytes())
    return found.hexdigest()
