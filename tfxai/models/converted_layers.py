"""Layers of converted models for operations that no Keras layer computes.

A converted model loads with them alone, without `tfxai.converters`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable("tfxai")
class Apply(keras.layers.Layer):
    """Applies a function of `keras.ops` to one tensor or several."""

    def __init__(
        self,
        function: str,
        arguments: dict[str, Any] | None = None,
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
        """Take the function's name, and its arguments other than the tensors."""
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.function = function
        self.arguments = arguments or {}

    def call(self, inputs: Any) -> Any:
        """Apply the function."""
        tensors = inputs if isinstance(inputs, list | tuple) else [inputs]
        return getattr(ops, self.function)(*tensors, **self.arguments)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments with which the layer is made again."""
        return {**super().get_config(), "function": self.function, "arguments": self.arguments}


@keras.saving.register_keras_serializable("tfxai")
class WithConstant(keras.layers.Layer):
    """Applies a function of `keras.ops` to a tensor and an array that is not trained."""

    def __init__(
        self,
        function: str,
        shape: tuple[int, ...],
        first: bool = False,
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
        """Take the function's name, the array's shape, and whether it is the first argument."""
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.function = function
        self.shape = tuple(shape)
        self.first = first
        self.constant = self.add_weight(
            shape=self.shape, initializer="zeros", trainable=False, name="constant"
        )

    def build(self, shape: Any) -> None:
        """Do nothing: the constant does not depend on the input."""

    def call(self, inputs: Any) -> Any:
        """Apply the function."""
        constant = ops.cast(self.constant, inputs.dtype)
        pair = (constant, inputs) if self.first else (inputs, constant)
        return getattr(ops, self.function)(*pair)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments with which the layer is made again."""
        own = {"function": self.function, "shape": self.shape, "first": self.first}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("tfxai")
class Slice(keras.layers.Layer):
    """Slices a tensor."""

    def __init__(
        self,
        slices: list[list[int | None]],
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
        """Take [start, stop, step] for each axis after the batch axis."""
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.slices = [list(bounds) for bounds in slices]

    def call(self, inputs: Any) -> Any:
        """Take the slice."""
        return inputs[(slice(None), *(slice(*bounds) for bounds in self.slices))]

    def get_config(self) -> dict[str, Any]:
        """Give the arguments with which the layer is made again."""
        return {**super().get_config(), "slices": self.slices}


@keras.saving.register_keras_serializable("tfxai")
class Pad(keras.layers.Layer):
    """Pads a tensor, in any mode of `keras.ops.pad`."""

    def __init__(
        self,
        widths: list[list[int]],
        mode: str = "constant",
        value: float = 0.0,
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
        """Take [before, after] for each axis after the batch axis, the mode, and its value."""
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.widths = [list(pair) for pair in widths]
        self.mode = mode
        self.value = value

    def call(self, inputs: Any) -> Any:
        """Pad the tensor."""
        value = self.value if self.mode == "constant" else None
        return ops.pad(inputs, [[0, 0], *self.widths], self.mode, value)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments with which the layer is made again."""
        own = {"widths": self.widths, "mode": self.mode, "value": self.value}
        return {**super().get_config(), **own}


def with_weights(layer: keras.layers.Layer, inputs: Any, *weights: np.ndarray) -> Any:
    """Call a layer for the first time, set its weights, and give its outputs.

    The layer's initialisers should be zeros: random ones take long and advance Keras's seed.
    """
    outputs = layer(inputs)
    layer.set_weights(list(weights))
    return outputs


def with_constant(
    function: str, inputs: Any, constant: np.ndarray, *, first: bool = False, name: str
) -> Any:
    """Apply a function to a tensor and an array by a `WithConstant` layer."""
    layer = WithConstant(function, constant.shape, first, name=name)
    return with_weights(layer, inputs, constant)


@keras.saving.register_keras_serializable("tfxai")
class SavedGraph(keras.layers.Layer):
    """Computes a SavedModel by its graph, which has gradients but no weights to change."""

    def __init__(
        self,
        shapes: list[list[int]],
        one_by_one: bool,
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = False,
    ) -> None:
        """Take the outputs' shapes without the batch, and whether batches have one example."""
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.shapes = [list(shape) for shape in shapes]
        self.one_by_one = one_by_one
        self.files: dict[str, bytes] = {}
        self.loaded: Any = None

    def load(self, folder: str | Path) -> None:
        """Load the SavedModel in a folder; the layer keeps the content of its files."""
        folder = Path(folder)
        paths = [path for path in folder.rglob("*") if path.is_file()]
        self.files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        self.loaded = tf.saved_model.load(str(folder))

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        """Give the shapes of the outputs."""
        return [(None, *shape) for shape in self.shapes]

    def call(self, inputs: Any) -> list[tf.Tensor]:
        """Run the graph."""
        tensors = tf.nest.flatten(inputs)
        if not self.one_by_one:
            return self._run(tensors)
        return tf.map_fn(
            lambda rows: [y[0] for y in self._run([x[None] for x in rows])],
            tensors,
            fn_output_signature=[tf.TensorSpec(shape, tensors[0].dtype) for shape in self.shapes],
        )

    def _run(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        function = self.loaded.signatures["serving_default"]
        names = function.structured_input_signature[1]
        outputs = function(**dict(zip(names, tensors, strict=True)))
        return [outputs[name] for name in sorted(outputs)]

    def save_assets(self, folder: str) -> None:
        """Write the SavedModel into a .keras file."""
        for name, content in self.files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def load_assets(self, folder: str) -> None:
        """Load the SavedModel from a .keras file."""
        self.load(folder)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments with which the layer is made again, without the graph."""
        own = {"shapes": self.shapes, "one_by_one": self.one_by_one}
        return {**super().get_config(), **own}
