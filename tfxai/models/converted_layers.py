"""Layers of converted models for operations that have no layer in Keras.

They stand here, not in the converters, so that converted models load without ONNX installed. Beside
their own arguments they take ``name``, ``dtype`` and ``trainable``, as every layer does.
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
    """A function of `keras.ops`, applied to one tensor or several.

    Args:
        function: the function's name.
        arguments: its arguments besides the tensors.
    """

    def __init__(
        self,
        function: str,
        arguments: dict[str, Any] | None = None,
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.function = function
        self.arguments = arguments or {}

    def call(self, inputs: Any) -> Any:
        """Apply the function."""
        tensors = inputs if isinstance(inputs, list | tuple) else [inputs]
        return _applied(self.function, *tensors, **self.arguments)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that are saved."""
        return {**super().get_config(), "function": self.function, "arguments": self.arguments}


@keras.saving.register_keras_serializable("tfxai")
class WithConstant(keras.layers.Layer):
    """A function of `keras.ops`, applied to a tensor and a constant.

    Args:
        function: the function's name.
        shape: the shape of the constant, which is a weight that is not trained.
        first: whether the constant is the function's first argument.
    """

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
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.function = function
        self.shape = tuple(shape)
        self.first = first
        self.constant = self.add_weight(
            shape=self.shape, initializer="zeros", trainable=False, name="constant"
        )

    def build(self, shape: Any) -> None:
        """Do nothing, as the constant does not depend on the input."""

    def call(self, inputs: Any) -> Any:
        """Apply the function."""
        constant = ops.cast(self.constant, inputs.dtype)
        pair = (constant, inputs) if self.first else (inputs, constant)
        return _applied(self.function, *pair)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that are saved."""
        own = {"function": self.function, "shape": self.shape, "first": self.first}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("tfxai")
class Constant(keras.layers.Layer):
    """A constant, once for each row of a batch, such as the class token of a transformer.

    Args:
        shape: the shape of the constant, which is a weight that is not trained.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.shape = tuple(shape)
        self.constant = self.add_weight(
            shape=self.shape, initializer="zeros", trainable=False, name="constant"
        )

    def build(self, shape: Any) -> None:
        """Do nothing, as the constant does not depend on the input."""

    def call(self, inputs: Any) -> Any:
        """Repeat the constant for each row of the inputs."""
        constant = ops.cast(self.constant, self.compute_dtype)
        return ops.broadcast_to(constant, (ops.shape(inputs)[0], *self.shape))

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that are saved."""
        return {**super().get_config(), "shape": self.shape}


@keras.saving.register_keras_serializable("tfxai")
class Slice(keras.layers.Layer):
    """A slice of a tensor.

    Args:
        slices: [start, stop, step] for each axis after the batch.
    """

    def __init__(
        self,
        slices: list[list[int | None]],
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.slices = [list(bounds) for bounds in slices]

    def call(self, inputs: Any) -> Any:
        """Slice."""
        return inputs[(slice(None), *(slice(*bounds) for bounds in self.slices))]

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that are saved."""
        return {**super().get_config(), "slices": self.slices}


@keras.saving.register_keras_serializable("tfxai")
class Pad(keras.layers.Layer):
    """Padding with any value, in any mode of `keras.ops.pad`.

    Args:
        widths: [before, after] for each axis after the batch.
        mode: "constant", "reflect" or "symmetric".
        value: what is padded with in the mode "constant".
    """

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
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.widths = [list(pair) for pair in widths]
        self.mode = mode
        self.value = value

    def call(self, inputs: Any) -> Any:
        """Pad."""
        value = self.value if self.mode == "constant" else None
        return ops.pad(inputs, [[0, 0], *self.widths], self.mode, value)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that are saved."""
        own = {"widths": self.widths, "mode": self.mode, "value": self.value}
        return {**super().get_config(), **own}


def _applied(function: str, *tensors: Any, **arguments: Any) -> Any:
    """Apply a function of `keras.ops`.

    `keras.ops.add` takes a second tensor ``[1, n, 1]`` for a bias along the last axis, where that
    has n entries, too (Keras 3.15); therefore sums are TensorFlow's.
    """
    return tf.add(*tensors) if function == "add" else getattr(ops, function)(*tensors, **arguments)


def call_with_weights(layer: keras.layers.Layer, inputs: Any, *weights: np.ndarray) -> Any:
    """Call a new layer, which builds it, then set its weights; give the outputs of the call.

    The initialisers should be zeros: random numbers take long, and they would advance Keras's seed.
    """
    outputs = layer(inputs)
    layer.set_weights(list(weights))
    return outputs


def apply_with_constant(
    function: str, inputs: Any, constant: np.ndarray, *, first: bool = False, name: str
) -> Any:
    """Apply a function of `keras.ops` to a tensor and a constant, by a `WithConstant` layer."""
    layer = WithConstant(function, constant.shape, first, name=name)
    return call_with_weights(layer, inputs, constant)


@keras.saving.register_keras_serializable("tfxai")
class SavedGraph(keras.layers.Layer):
    """The graph of a SavedModel, which has gradients but no weights that could be changed.

    Args:
        shapes: the shapes of the outputs, without the batch.
        one_by_one: whether the graph takes batches of one example only.
    """

    def __init__(
        self,
        shapes: list[list[int]],
        one_by_one: bool,
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = False,
    ) -> None:
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
        """Run the graph, on one example after another if it takes no more at once."""
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
        """Read the SavedModel from a .keras file."""
        self.load(folder)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that are saved beside the graph."""
        own = {"shapes": self.shapes, "one_by_one": self.one_by_one}
        return {**super().get_config(), **own}
