"""`from_torch`: a Keras model from a PyTorch module, by way of an ONNX file."""

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


def from_torch(
    module: torch.nn.Module,
    example_input: torch.Tensor | tuple[torch.Tensor, ...],
    *,
    exporter: str = "dynamo",
) -> keras.Model:
    """Rebuild a PyTorch module as a Keras model; it needs the extra ``tfxai[torch]``.

    Args:
        module: in evaluation mode.
        example_input: a batch for it, or a tuple of its inputs; only the shapes matter.
        exporter: PyTorch's "dynamo", or the "legacy" one, which traces.

    Returns:
        A functional Keras model of channels-last images, as that of `from_onnx`.

    Raises:
        ImportError: PyTorch is not installed.
        UnsupportedError: what `from_onnx` does not know.
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
            # That the legacy exporter is one is known to who asks for it.
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(module, inputs, path, dynamo=exporter == "dynamo")
        return from_onnx(path)
