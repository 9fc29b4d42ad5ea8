"""`from_torch`: a Keras model from a PyTorch module, which is exported to an ONNX file first."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from .onnx_file import from_onnx

if TYPE_CHECKING:
    import torch

EXPORTERS = ("dynamo", "legacy")
"""PyTorch's exporters to ONNX."""


def from_torch(
    module: torch.nn.Module,
    example_input: torch.Tensor | tuple[torch.Tensor, ...],
    *,
    exporter: str = "dynamo",
) -> keras.Model:
    """Rebuild a PyTorch module as a Keras model; it needs the extra ``tfxai[torch]``.

    Args:
        module: the module, in evaluation mode.
        example_input: a batch of inputs, or a tuple of batches for several inputs; only their
            shapes matter.
        exporter: "dynamo", or "legacy" for PyTorch's older exporter, which traces the module.

    Returns:
        A functional Keras model of channels-last images, as `from_onnx` gives it.

    Raises:
        ImportError: PyTorch is not installed.
        UnsupportedError: an operation that `from_onnx` cannot rebuild.
        ValueError: a module in training mode, or an unknown exporter.
    """
    import torch

    if exporter not in EXPORTERS:
        raise ValueError(f"exporter={exporter!r}: expected one of {EXPORTERS}")
    if module.training:
        raise ValueError("the module is in training mode; call module.eval() first")
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "module.onnx"
        with warnings.catch_warnings():
            # The legacy exporter warns that it is deprecated, which its users know.
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(module, inputs, path, dynamo=exporter == "dynamo")
        return from_onnx(path)
