"""`export`: one SavedModel that predicts and explains, and needs no tfxai where it is served."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import checks
from tfxai.core.provenance import readable, versions
from tfxai.explaining.explainer import Explainer
from tfxai.models import keras_graph
from tfxai.models.scored_models import PREDICTED
from tfxai.serving.functions import served_module
from tfxai.serving.inputs import INPUT_KINDS, Preprocess, prepare_and_signature, to_argument

METADATA = "tfxai.json"


def export(
    model: keras.Model,
    path: str | PathLike[str],
    explainers: Mapping[str, Explainer],
    *,
    inputs: str = "tensor",
    preprocess: Preprocess | None = None,
    class_names: Any = None,
) -> Path:
    """Write a model and explainers of it as one SavedModel.

    The signature ``serving_default`` maps inputs to outputs. For each explainer there is a
    signature ``explain_<name>``. It takes the inputs, ``targets`` and ``seed``, and gives
    ``attributions``, ``scores``, ``targets`` and the method's diagnostics, such as
    ``completeness_gap`` or ``standard_error``. Targets are int32 ``[B]``, in which -1 stands for
    the predicted class; targets of shape ``[0]`` stand for the predicted classes of all examples.
    The seed is int32 ``[]``. Batches may be of any size.

    The signatures carry defaults for ``targets`` and ``seed``, which TensorFlow Serving fills in
    where a request leaves them out. TensorFlow in Python fills in the defaults of functions, but
    not those of signatures; therefore the loaded model has a function ``explain_<name>``, too.

    The asset ``tfxai.json`` holds the metadata: methods and options, versions, class names, the
    inputs and outputs of signatures, the name of `preprocess`, and the largest difference between
    the results of the written model and those of the explainers in this process (0 as a rule).

    Args:
        model: a Keras model with declared inputs.
        path: a folder that does not exist yet.
        explainers: a dict, name -> an explainer of this very model.
        inputs: "tensor" for the model's own inputs; "uint8" for pixels ``[B, H, W, C]`` of the
            model's size; "bytes" for JPEG or PNG files ``[B]`` of any size, whose centres are
            cropped to the model's proportions and resized.
        preprocess: for "uint8" and "bytes", a function in TensorFlow from pixels in 0..255 to the
            model's inputs; None where the model takes these pixels.
        class_names: names for the metadata; None for the model's `class_names`.

    Returns:
        The path.

    Raises:
        TypeError: something that is no explainer, or explainers without names.
        ValueError: a name that cannot be a signature's, an explainer of another model, a model
            without declared inputs, or a path that exists.
        OSError: the folder cannot be written. Nothing is left of it then.

    Example:
        >>> import tfxai
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> folder = Path(tempfile.mkdtemp()) / "served"
        >>> _ = export(model, folder, {"gradient": tfxai.gradient(model)})
        >>> served = tf.saved_model.load(folder)
        >>> x, targets = tf.ones([4, 2]), tf.constant([0, 1, 2, -1])
        >>> served.signatures["explain_gradient"](
        ...     inputs=x, targets=targets, seed=tf.constant(0)
        ... )["attributions"].shape
        TensorShape([4, 2])
        >>> served.explain_gradient(x)["targets"].shape
        TensorShape([4])
    """
    checks.model(model)
    checks.one_of("inputs", inputs, INPUT_KINDS)
    if not isinstance(explainers, Mapping):
        raise TypeError(
            f"explainers: expected a dict from names to explainers, such as {{'ig': explainer}}, "
            f"got {type(explainers).__name__}"
        )
    for name, explainer in explainers.items():
        _check_explainer(name, explainer, model)
    specs = keras_graph.declared_inputs(model)
    if specs is None:
        raise ValueError(
            f"model: {model.name} declares no inputs; wrap it: keras.Model(x, model(x)), x = "
            "keras.Input(...)"
        )
    target = Path(path)
    if target.exists():
        raise ValueError(f"path={str(path)!r} exists already")
    prepare, signature = prepare_and_signature(inputs, specs, preprocess)
    module = served_module(model, explainers, prepare, signature)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Written in another folder and then moved, so that a folder of this name is always complete.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
        written = Path(temporary) / "model"
        empty = Path(temporary) / METADATA
        empty.write_text("{}")
        module.metadata = tf.saved_model.Asset(str(empty))
        tf.saved_model.save(module, str(written), signatures=module.endpoints)
        loaded = tf.saved_model.load(str(written))
        names = class_names or getattr(model, "class_names", None)
        metadata = {
            "model": model.name,
            "inputs": inputs,
            "preprocess": readable({"preprocess": preprocess})["preprocess"],
            "class_names": None if names is None else list(names),
            "explainers": {name: e.settings for name, e in explainers.items()},
            "signatures": {name: _shapes_and_types(s) for name, s in loaded.signatures.items()},
            "versions": versions(),
            "parity": _parity(loaded.signatures, module.endpoints, signature),
        }
        (written / "assets" / METADATA).write_text(json.dumps(metadata, indent=1))
        shutil.move(written, target)
    return target


def metadata(path: str | PathLike[str]) -> dict[str, Any]:
    """Read the metadata of a SavedModel that `export` wrote.

    Args:
        path: the folder of the SavedModel.

    Raises:
        ValueError: the folder is no SavedModel that `export` wrote.

    Example:
        >>> metadata("nowhere")
        Traceback (most recent call last):
        ValueError: nowhere is no model that tfxai exported
    """
    try:
        return json.loads((Path(path) / "assets" / METADATA).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no model that tfxai exported") from error


def _check_explainer(name: str, explainer: Any, model: keras.Model) -> None:
    if not isinstance(name, str) or not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"explainers: {name!r} cannot name a signature: use letters, digits and _")
    if not isinstance(explainer, Explainer):
        raise TypeError(f"explainers[{name!r}]: expected an Explainer, got {explainer!r}")
    if explainer.model is not model:
        raise ValueError(
            f"explainers[{name!r}] explains another model, {explainer.model.name}: build it on "
            "the one that is exported"
        )


def _shapes_and_types(signature: Any) -> dict[str, dict[str, list]]:
    """Give the shape and type of each input and output of a loaded signature, by name."""
    sides = {"inputs": signature.structured_input_signature[1]}
    sides["outputs"] = signature.structured_outputs
    return {
        side: {name: [spec.shape.as_list(), spec.dtype.name] for name, spec in specs.items()}
        for side, specs in sides.items()
    }


def _parity(
    written: Mapping[str, Callable],
    live: Mapping[str, Any],
    signature: Mapping[str, tf.TensorSpec],
) -> dict[str, float]:
    """Give the largest difference of each written signature from the live one, on two examples."""
    examples = {name: _example(spec) for name, spec in signature.items()}
    differences = {}
    for name, function in live.items():
        integers = {"targets": tf.constant([PREDICTED] * 2), "seed": tf.constant(0)}
        if name == "serving_default":
            integers = {}
        # TensorFlow warns of calls of several tf.functions, but not of concrete functions.
        concrete = function.get_concrete_function()
        pairs = zip(
            tf.nest.flatten(concrete(to_argument(examples), *integers.values())),
            tf.nest.flatten(written[name](**examples, **integers)),
            strict=True,
        )
        differences[name] = max(_difference(a.numpy(), b.numpy()) for a, b in pairs)
    return differences


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    if np.array_equal(first, second, equal_nan=True):
        return 0.0
    return float(np.abs(first.astype(np.float64) - second).max())


def _example(spec: tf.TensorSpec) -> tf.Tensor:
    """Give a batch of two random inputs; sizes that are open are 8, encoded images 64 x 64."""
    random = np.random.default_rng(0)
    if spec.dtype == tf.string:
        pixels = random.integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
        return tf.stack([tf.io.encode_png(p) for p in pixels])
    shape = [2, *(8 if n is None else n for n in spec.shape[1:])]
    if spec.dtype == tf.uint8:
        return tf.constant(random.integers(0, 256, shape).astype(np.uint8))
    return tf.cast(tf.constant(random.uniform(size=shape)), spec.dtype)
