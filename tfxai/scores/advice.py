"""Errors for outputs that are not one row of classes, which name the scores that fit them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfxai.core.named_inputs import flatten_with_paths
from tfxai.core.types import Tensors


def several_outputs(outputs: Tensors) -> ValueError:
    """Give the error of a model with several outputs, with a score for two of them."""
    leaves = [(path, x) for path, x in flatten_with_paths(outputs) if _is_floating(x)]
    described = ", ".join(f"{_keys(path)} {x.shape}" for path, x in leaves)
    leaves.sort(key=lambda leaf: (leaf[1].shape.rank == 3, leaf[1].shape.rank != 2))
    likely = " or ".join(_output_score(path, x) for path, x in leaves[:2])
    index = "".join(f"[{key!r}]" for key in leaves[0][0]) if leaves else "[i]"
    return ValueError(
        f"The model has several outputs ({type(outputs).__name__}): {described}. Say which one to "
        f"explain, score={likely}; or explain keras.Model(model.inputs, model.output{index}), for "
        "a list keras.Model(model.inputs, model.outputs[i])."
    )


def not_rows(shape: tf.TensorShape) -> ValueError:
    """Give the error of an output that is not ``[B, C]``, with two scores that are likely meant."""
    likely = " or ".join(_part_scores(shape)) or "a function (outputs, targets) -> [B] of your own"
    return ValueError(
        f"The model's outputs have shape {shape}, but this score needs [batch, classes]. Say which "
        f"part to explain, score={likely}."
    )


def no_such_output(key: Any, outputs: Tensors, hint: str) -> ValueError:
    """Give the error of a key that names no output."""
    if not isinstance(outputs, dict | list | tuple):
        return ValueError(
            f"score: output({key!r}) of a single output {outputs.shape}; leave output() out"
        )
    keys = list(outputs) if isinstance(outputs, dict) else list(range(len(outputs)))
    return ValueError(
        f"score: output({key!r}): the model has no such output, but "
        f"{', '.join(map(repr, keys))}{hint}"
    )


def _output_score(path: tuple, x: tf.Tensor) -> str:
    parts = _part_scores(x.shape)
    inner = f", {parts[0]}" if parts else ""
    return f"tfxai.scores.output({_keys(path)}{inner})"


def _part_scores(shape: tf.TensorShape) -> list[str]:
    """Give the two scores that are likely for outputs of a shape; none for ``[B, C]``."""
    rank = shape.rank
    if rank is None or rank < 3:
        return []
    if rank == 3:
        return ["tfxai.scores.position(-1)", "tfxai.scores.box()"]
    middle = tuple(0 if n is None else n // 2 for n in shape[1:-1])
    return ["tfxai.scores.region()", f"tfxai.scores.position({middle})"]


def _keys(path: tuple) -> str:
    """Give a path as the argument of `output`."""
    return repr(path[0]) if len(path) == 1 else repr(path)


def _is_floating(x: Any) -> bool:
    return hasattr(x, "shape") and tf.as_dtype(x.dtype).is_floating
