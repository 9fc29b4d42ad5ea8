"""An ONNX file run by onnxruntime, with inputs and outputs in the order of a Keras model's axes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import onnx
import onnxruntime
from onnx import external_data_helper

from .build import is_channels_first
from .layout import channels_last_order, file_order
from .onnx_graph import Graph
from .reader import read_graph

Arrays = Sequence[np.ndarray]
"""An array for each input, or for each output, of a model."""


class OnnxSession(NamedTuple):
    """A file that is run as the Keras model is that was rebuilt from it."""

    path: str
    graph: Graph
    session: onnxruntime.InferenceSession
    inputs: list[tuple[int, ...]]
    """For each input the order: axis i in the Keras model is axis ``order[i]`` in the file."""
    outputs: list[tuple[int, ...]]
    """For each output its order."""

    @classmethod
    def open(cls, path: str | Path, model: keras.Model) -> OnnxSession:
        """Open a file for comparison with a Keras model; outputs are in the file's order at first.

        Raises:
            FileNotFoundError: the file, or a file with its weights, is missing.
            ValueError: the file is no ONNX model, or its inputs are not the model's.
        """
        graph, options = read_graph(path), onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        ranks = [len(x.shape) for x in model.inputs], [len(item.shape) for item in graph.inputs]
        if ranks[0] != ranks[1]:
            raise ValueError(f"the model has inputs of rank {ranks[0]}, the file of {ranks[1]}")
        inputs = [
            channels_last_order(rank) if is_channels_first(graph, item) else file_order(rank)
            for item, rank in zip(graph.inputs, ranks[0], strict=True)
        ]
        return cls(
            str(path), graph, session, inputs, [file_order(len(x.shape)) for x in model.outputs]
        )

    def unoptimised(self) -> OnnxSession:
        """Give the file as it is run without onnxruntime's optimisations."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            self.path, options, providers=["CPUExecutionProvider"]
        )
        return self._replace(session=session)

    def with_output_orders(
        self, inputs: Arrays, outputs: Arrays
    ) -> tuple[OnnxSession, list[np.ndarray]]:
        """Find the orders of a model's outputs: those in which the file's outputs are closest.

        Args:
            inputs: inputs of the model.
            outputs: the model's outputs for these inputs.

        Returns:
            A session with these orders, and the file's outputs in them.

        Raises:
            ValueError: the outputs have other shapes.
        """
        orders, reordered = [], []
        for output, expected in zip(outputs, self(inputs), strict=True):
            rank = expected.ndim
            candidates = [file_order(rank), *([channels_last_order(rank)] if rank > 2 else [])]
            fitting = [o for o in candidates if expected.transpose(o).shape == output.shape]
            if not fitting:
                raise ValueError(f"the model gives {output.shape}, the file {expected.shape}")
            errors = [np.abs(output - expected.transpose(order)).max() for order in fitting]
            orders.append(fitting[int(np.argmin(errors))])
            reordered.append(expected.transpose(orders[-1]))
        return self._replace(outputs=orders), reordered

    def __call__(self, inputs: Arrays) -> list[np.ndarray]:
        """Run the file on the model's inputs, one example after another."""
        batch = self.graph.inputs[0].shape[0] or 1
        arrays = self.in_file_order(inputs)
        rows = []
        for i in range(len(arrays[0])):
            feeds = {
                item.name: np.repeat(x[i : i + 1], batch, 0).astype(item.dtype)
                for item, x in zip(self.graph.inputs, arrays, strict=True)
            }
            rows.append([output[:1] for output in self.session.run(None, feeds)])
        return [
            np.concatenate(examples).transpose(order)
            for examples, order in zip(zip(*rows, strict=True), self.outputs, strict=True)
        ]

    def in_file_order(self, inputs: Arrays) -> list[np.ndarray]:
        """Give the model's inputs with their axes in the file's order."""
        orders = (np.argsort(order) for order in self.inputs)
        return [x.transpose(order) for x, order in zip(inputs, orders, strict=True)]


def sha256_of(path: str | Path) -> str:
    """Give the SHA-256 of an .onnx file and the files with its weights."""
    sha256 = hashlib.sha256()
    for content in _contents(Path(path)):
        sha256.update(content)
    return sha256.hexdigest()


def _contents(path: Path) -> Iterator[bytes]:
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    external = filter(external_data_helper.uses_external_data, tensors)
    names = {external_data_helper.ExternalDataInfo(tensor).location for tensor in external}
    for file in (path, *(path.parent / name for name in sorted(names))):
        yield file.read_bytes()
