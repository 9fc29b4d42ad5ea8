"""ONNX files as onnxruntime runs them, with the axes in the order of a Keras model."""

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
from .layout import channels_last, same
from .onnx_graph import Graph
from .reader import read

Arrays = Sequence[np.ndarray]


class OnnxFile(NamedTuple):
    """A file, and which axes a model's tensors have."""

    graph: Graph
    session: onnxruntime.InferenceSession
    inputs: list[tuple[int, ...]]
    """Axis i of the model's input is this axis in the file."""
    outputs: list[tuple[int, ...]]

    @classmethod
    def of(cls, path: str | Path, model: keras.Model) -> OnnxFile:
        """Open a file for a model with its inputs."""
        graph, options = read(path), onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        ranks = [len(x.shape) for x in model.inputs], [len(one.shape) for one in graph.inputs]
        if ranks[0] != ranks[1]:
            raise ValueError(f"the model has inputs of rank {ranks[0]}, the file of {ranks[1]}")
        inputs = [
            channels_last(rank) if is_channels_first(graph, one) else same(rank)
            for one, rank in zip(graph.inputs, ranks[0], strict=True)
        ]
        return cls(graph, session, inputs, [same(len(x.shape)) for x in model.outputs])

    def with_outputs_like(
        self, inputs: Arrays, outputs: Arrays
    ) -> tuple[OnnxFile, list[np.ndarray]]:
        """Take the order of axes that a model's outputs have; give the file's in it, too."""
        orders, turned = [], []
        for found, expected in zip(outputs, self(inputs), strict=True):
            rank = expected.ndim
            fitting = [
                order
                for order in {same(rank), channels_last(rank) if rank > 2 else same(rank)}
                if expected.transpose(order).shape == found.shape
            ]
            if not fitting:
                raise ValueError(f"the model gives {found.shape}, the file {expected.shape}")
            errors = [np.abs(found - expected.transpose(order)).max() for order in fitting]
            orders.append(fitting[int(np.argmin(errors))])
            turned.append(expected.transpose(orders[-1]))
        return self._replace(outputs=orders), turned

    def __call__(self, inputs: Arrays) -> list[np.ndarray]:
        """Give the outputs, computed example by example."""
        batch = self.graph.inputs[0].shape[0] or 1
        arrays = self.in_file_order(inputs)
        rows = []
        for i in range(len(arrays[0])):
            given = {
                one.name: np.repeat(x[i : i + 1], batch, 0).astype(one.dtype)
                for one, x in zip(self.graph.inputs, arrays, strict=True)
            }
            rows.append([output[:1] for output in self.session.run(None, given)])
        return [
            np.concatenate(whole).transpose(order)
            for whole, order in zip(zip(*rows, strict=True), self.outputs, strict=True)
        ]

    def in_file_order(self, inputs: Arrays) -> list[np.ndarray]:
        """Give the model's inputs as the file has them."""
        orders = (np.argsort(order) for order in self.inputs)
        return [x.transpose(order) for x, order in zip(inputs, orders, strict=True)]


def digest(path: str | Path) -> str:
    """Give the SHA-256 of an .onnx file and the files with its weights."""
    found = hashlib.sha256()
    for part in _parts(Path(path)):
        found.update(part)
    return found.hexdigest()


def _parts(path: Path) -> Iterator[bytes]:
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    apart = filter(external_data_helper.uses_external_data, tensors)
    beside = {external_data_helper.ExternalDataInfo(tensor).location for tensor in apart}
    for file in (path, *(path.parent / name for name in sorted(beside))):
        yield file.read_bytes()
