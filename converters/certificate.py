"""`certify`: how close a Keras model is to the ONNX model that it was rebuilt from."""

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

from .gradients import Comparison, compare_along_lines, error_against_torch
from .layout import single_or_list
from .onnx_session import OnnxSession, sha256_of

if TYPE_CHECKING:
    import torch

OUTPUT_TOLERANCE = 1e-4
"""The largest error of an output, relative to the largest output; in float32, 1e-5 is reached."""
TORCH = "PyTorch in float64"
TORCH_TOLERANCE = 0.05
"""The largest relative error of gradients against those of a PyTorch module.

ReLU networks reach 0.02: an exporter that rounds weights switches some neurons.
"""
GRADIENT_TOLERANCE = 0.005
"""The largest relative error of gradients against the file itself, where this is known better.

Else it is `OWN_ERRORS` times the error of the comparison.
"""
OWN_ERRORS = 3
LARGEST_OWN_ERROR = 0.1
"""From this error of the comparison on, it says nothing."""


@dataclass(frozen=True)
class Certificate:
    """What was compared, and how close the two models are."""

    model: str
    """The name of the Keras model."""
    source: str
    """The name of the .onnx file."""
    sha256: str
    """The hash of the .onnx file and of the files with its weights."""
    weights_sha256: str
    """The hash of the Keras model's weights."""
    opset: int
    operations: dict[str, int]
    """How often each operation occurs in the file, functions written out."""
    samples: int
    """The number of inputs on which the models were compared."""
    seed: int
    max_absolute_error: float
    max_relative_error: float
    """The largest absolute error of an output, relative to the largest output."""
    argmax_agreement: float
    """The share of samples for which both models predict the same class."""
    gradient_error: float
    """The relative error of gradients against `gradient_reference`."""
    gradient_own_error: float
    """What of it the comparison's own rounding and quadrature may explain."""
    gradient_reference: str
    """What the gradients were compared with."""
    versions: dict[str, str]
    """The versions of Keras, TensorFlow and onnxruntime."""

    @property
    def gradient_tolerance(self) -> float:
        """The largest error of gradients with which the certificate holds."""
        if self.gradient_reference == TORCH:
            return TORCH_TOLERANCE
        if self.gradient_own_error > LARGEST_OWN_ERROR:
            return 0.0
        return max(GRADIENT_TOLERANCE, OWN_ERRORS * self.gradient_own_error)

    @property
    def holds(self) -> bool:
        """Whether all errors are within the tolerances, and all predicted classes agree."""
        return (
            self.max_relative_error <= OUTPUT_TOLERANCE
            and self.gradient_error <= self.gradient_tolerance
            and self.argmax_agreement == 1
        )

    def lines(self) -> dict[str, str]:
        """Give the lines of a table for people, as text by name."""
        operations = ", ".join(f"{name} {count}" for name, count in self.operations.items())
        return {
            "holds": "yes" if self.holds else "NO",
            "outputs": f"off by {self.max_relative_error:.1e} of the largest, in {self.samples} "
            f"samples (at most {OUTPUT_TOLERANCE:g})",
            "same class": f"{self.argmax_agreement:.0%}",
            "gradients": f"off by {self.gradient_error:.1e} (at most "
            f"{self.gradient_tolerance:.1g}), against {self.gradient_reference}, which are known "
            f"to {self.gradient_own_error:.1e}",
            "opset": str(self.opset),
            "operations": operations,
            "sha256": self.sha256,
        }

    def save(self, path: str | Path) -> None:
        """Write the certificate as JSON."""
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
    """Compare a Keras model with the ONNX file that it was rebuilt from, on normal noise.

    Outputs are compared with those of onnxruntime. Gradients are compared with those of the
    PyTorch module in float64, if it is given. Without it, the integral of the Keras model's
    gradient between two inputs around a sample is compared with the difference of onnxruntime's
    outputs for these two inputs, which equals the integral of the true gradient. How exact this is
    is measured, too, and the two inputs are so far apart that it is as exact as it can be: the
    tolerance follows from it.

    Args:
        model: a Keras model with the file's inputs, images channels-last.
        onnx_path: the file.
        samples: how many inputs are drawn.
        seed: the seed of the inputs.
        module: the PyTorch module that the file was exported from.

    Returns:
        A Certificate; its `holds` says whether the two models compute the same.

    Raises:
        FileNotFoundError: the file, or a file with its weights, is missing.
        ValueError: the file is no ONNX model, or the model's inputs or outputs are not the file's.
    """
    random, session = np.random.default_rng(seed), OnnxSession.open(onnx_path, model)
    inputs = [random.standard_normal((samples, *x.shape[1:])) for x in model.inputs]
    outputs = [y.numpy() for y in tf.nest.flatten(model(single_or_list(inputs)))]
    session, expected = session.with_output_orders(inputs, outputs)
    weights = [random.standard_normal(output.shape[1:]) for output in outputs]
    if module is None:
        directions = [random.standard_normal(x.shape) for x in inputs]
        comparison = compare_along_lines(model, session, inputs, directions, weights)
        reference = "differences of onnxruntime's outputs"
    else:
        error = error_against_torch(model, module, session, inputs, weights)
        comparison, reference = Comparison(error, 0.0), TORCH
    pairs = list(zip(outputs, expected, strict=True))
    largest = max(float(np.abs(y).max()) for _, y in pairs)
    absolute = max(float(np.abs(x - y).max()) for x, y in pairs)
    classes, expected_classes = (array.reshape(samples, -1).argmax(1) for array in pairs[0])
    return Certificate(
        model=model.name,
        source=Path(onnx_path).name,
        sha256=sha256_of(onnx_path),
        weights_sha256=_weights_digest(model),
        opset=session.graph.opset,
        operations=dict(Counter(node.op for node in session.graph.nodes).most_common()),
        samples=samples,
        seed=seed,
        max_absolute_error=absolute,
        max_relative_error=absolute / largest if largest else absolute,
        argmax_agreement=float((classes == expected_classes).mean()),
        gradient_error=comparison.error,
        gradient_own_error=comparison.own_error,
        gradient_reference=reference,
        versions={m.__name__: m.__version__ for m in (keras, tf, onnxruntime)},
    )


def _weights_digest(model: keras.Model) -> str:
    sha256 = hashlib.sha256()
    for weight in model.weights:
        sha256.update(weight.numpy().tobytes())
    return sha256.hexdigest()
