"""An explainer of an exported model, run on a batch of images: images in, rows of a table out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import PathLike

import numpy as np
import tensorflow as tf

from tfxai.scale.arrow_table import ATTRIBUTIONS, Row
from tfxai.serving.inputs import decode_and_crop

Content = bytes | np.ndarray
"""An encoded image, or the numbers of one."""


class ServedExplainer:
    """One explainer of an exported model.

    Args:
        folder: a folder that `tfxai.export` wrote.
        explainer: the explainer's name in the export.
        input_kind: the inputs of the exported model: "bytes", "uint8" or "tensor".
        seed: the seed of methods that draw random numbers.
    """

    def __init__(self, folder: str | PathLike[str], explainer: str, input_kind: str, seed: int):
        # Kept here because a signature does not keep its model alive.
        self._model = tf.saved_model.load(str(folder))
        self._explain = self._model.signatures[f"explain_{explainer}"]
        self._spec = self._explain.structured_input_signature[1]["inputs"]
        self._input_kind = input_kind
        self._seed = tf.constant(seed, tf.int32)

    def input_of(self, content: Content) -> Content:
        """Give one image as the exported model takes it.

        Raises:
            ValueError: an image of another kind or size, or one that is not finite.
            tf.errors.InvalidArgumentError: an encoded image that cannot be decoded.
        """
        if self._input_kind == "bytes":
            if not isinstance(content, bytes):
                raise ValueError("an array, but the model takes encoded images")
            return content
        shape, dtype = self._spec.shape[1:], self._spec.dtype.as_numpy_dtype
        if isinstance(content, bytes):
            if self._input_kind == "tensor":
                raise ValueError("an encoded image, but the model takes tensors")
            pixels = decode_and_crop(tf.constant(content), tuple(shape[:2]), shape[2])
            return tf.round(pixels).numpy().astype(dtype)
        if content.size != shape.num_elements():
            raise ValueError(f"an array of {content.size} numbers, not of shape {list(shape)}")
        if not np.isfinite(content).all():
            raise ValueError("NaN or infinite values")
        if self._input_kind == "uint8" and not (np.min(content) >= 0 and np.max(content) <= 255):
            raise ValueError("numbers outside 0..255")
        return content.reshape(shape).astype(dtype)

    def explain(self, inputs: Sequence[Content], targets: Sequence[int]) -> list[Row]:
        """Explain a batch; if that fails, explain each image alone, to keep the others.

        Args:
            inputs: images as `input_of` gives them.
            targets: the class to explain for each image; -1 for the predicted class.

        Returns:
            For each image the outputs of the signature, or an ``error``.
        """
        try:
            outputs = self._explain(
                inputs=tf.constant(np.stack(inputs) if self._input_kind != "bytes" else inputs),
                targets=tf.constant(targets, tf.int32),
                seed=self._seed,
            )
        except tf.errors.InvalidArgumentError as error:
            if len(inputs) == 1:
                return [{"error": reason(error)}]
            return [self.explain([x], [t])[0] for x, t in zip(inputs, targets, strict=True)]
        arrays = {name: value.numpy() for name, value in outputs.items()}
        return [_row({name: v[i] for name, v in arrays.items()}) for i in range(len(inputs))]


def reason(error: tf.errors.OpError | ValueError) -> str:
    """Give the first line of an error's message, without TensorFlow's places in the graph."""
    text = re.sub(r"\{\{.*?\}\}", "", getattr(error, "message", None) or str(error))
    places = ("Graph execution error", "Detected at", "<stack", "[[")
    lines = [
        line for line in map(str.strip, text.splitlines()) if line and not line.startswith(places)
    ]
    return lines[0][:200]


def _row(outputs: dict[str, np.ndarray]) -> Row:
    if not np.isfinite(outputs[ATTRIBUTIONS]).all():
        return {"error": "attributions that are NaN or infinite"}
    score, target = outputs.pop("scores"), outputs.pop("targets")
    return {**outputs, "score": score, "target": target}
