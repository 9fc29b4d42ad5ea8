"""An exported explainer, used as where it is served: images in, rows of a table out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import PathLike

import numpy as np
import tensorflow as tf

from tfxai.scale.table import ATTRIBUTIONS, Row
from tfxai.serving.inputs import middle

Content = bytes | np.ndarray
"""An encoded image, or the numbers of one."""


class Served:
    """One explainer of an exported model.

    Args:
        folder: what `tfxai.export` wrote.
        explainer: its name there.
        kind: what the model takes, "bytes", "uint8" or "tensor".
        seed: for random numbers.
    """

    def __init__(self, folder: str | PathLike[str], explainer: str, kind: str, seed: int):
        self._model = tf.saved_model.load(str(folder))  # which its signatures do not keep alive
        self._explain = self._model.signatures[f"explain_{explainer}"]
        self._spec = self._explain.structured_input_signature[1]["inputs"]
        self._kind = kind
        self._seed = tf.constant(seed, tf.int32)

    def input_of(self, content: Content) -> Content:
        """Give one image as the model takes it.

        Raises:
            ValueError: it is another kind of image, or not finite.
            tf.errors.InvalidArgumentError: it cannot be decoded.
        """
        if self._kind == "bytes":
            if not isinstance(content, bytes):
                raise ValueError("an array, but the model takes encoded images")
            return content
        shape, dtype = self._spec.shape[1:], self._spec.dtype.as_numpy_dtype
        if isinstance(content, bytes):
            if self._kind == "tensor":
                raise ValueError("an encoded image, but the model takes tensors")
            pixels = middle(tf.constant(content), tuple(shape[:2]), shape[2])
            return tf.round(pixels).numpy().astype(dtype)
        if content.size != shape.num_elements():
            raise ValueError(f"an array of {content.size} numbers, not of shape {list(shape)}")
        if not np.isfinite(content).all():
            raise ValueError("NaN or infinite values")
        if self._kind == "uint8" and not (np.min(content) >= 0 and np.max(content) <= 255):
            raise ValueError("numbers outside 0..255")
        return content.reshape(shape).astype(dtype)

    def explain(self, inputs: Sequence[Content], targets: Sequence[int]) -> list[Row]:
        """Explain a batch; where that fails, each image alone, so that the others are kept.

        Returns:
            For each image the signature's outputs, or an ``error``.
        """
        try:
            found = self._explain(
                inputs=tf.constant(np.stack(inputs) if self._kind != "bytes" else inputs),
                targets=tf.constant(targets, tf.int32),
                seed=self._seed,
            )
        except tf.errors.InvalidArgumentError as error:
            if len(inputs) == 1:
                return [{"error": reason(error)}]
            return [self.explain([x], [t])[0] for x, t in zip(inputs, targets, strict=True)]
        arrays = {name: value.numpy() for name, value in found.items()}
        return [_row({name: v[i] for name, v in arrays.items()}) for i in range(len(inputs))]


def reason(error: tf.errors.OpError | ValueError) -> str:
    """Give what TensorFlow says, without where in the graph."""
    text = re.sub(r"\{\{.*?\}\}", "", getattr(error, "message", None) or str(error))
    told = [
        line
        for line in map(str.strip, text.splitlines())
        if line and not line.startswith(("Graph execution error", "Detected at", "<stack", "[["))
    ]
    return told[0][:200]


def _row(found: dict[str, np.ndarray]) -> Row:
    if not np.isfinite(found[ATTRIBUTIONS]).all():
        return {"error": "attributions that are NaN or infinite"}
    score, target = found.pop("scores"), found.pop("targets")
    return {**found, "score": score, "target": target}
