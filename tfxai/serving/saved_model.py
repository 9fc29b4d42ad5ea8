"""One SavedModel that predicts and explains, and needs no tfxai where it is served."""

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
from tfxai.models.heads import PREDICTED
from tfxai.serving.functions import served_module
from tfxai.serving.inputs import KINDS, Preprocess, as_argument, from_served

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

    Its signatures are ``serving_default`` (inputs -> outputs) and, for each explainer,
    ``explain_<name>``: inputs, ``targets`` int32 ``[B]`` (-1 for the predicted class, none at all,
    ``[0]``, for all predicted ones) and ``seed`` int32 ``[]`` -> ``attributions``, ``scores``,
    ``targets`` and the method's diagnostics, such as ``completeness_gap`` or ``standard_error``.
    Batches may be of any size. The signatures carry defaults for ``targets`` and ``seed``, which
    TensorFlow Serving fills in where a request leaves them out. TensorFlow's Python does so for
    functions, not for signatures: the loaded model has one for each explainer, of the same name.

    Metadata is the asset ``tfxai.json``: methods and options, versions, class names, what the
    signatures take and give, the name of `preprocess`, and how far the numbers of the written model
    are from those of the explainers here (0 as a rule).

    Args:
        model: a Keras model with declared inputs.
        path: a folder that does not exist yet.
        explainers: a dict, name -> an explainer of this very model.
        inputs: "tensor" takes what the model takes, "uint8" pixels ``[B, H, W, C]`` of its size,
            "bytes" encoded JPEG or PNG images ``[B]`` of any size, of which the middle is cut and
            resized.
        preprocess: for "uint8" and "bytes", from pixels in 0..255 to what the model takes, in
            TensorFlow; None where the model takes these pixels.
        class_names: for the metadata; None for the model's `class_names`.

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
    checks.one_of("inputs", inputs, KINDS)
    if not isinstance(explainers, Mapping):
        raise TypeError(
            f"explainers: expected a dict from names to explainers, such as {{'ig': explainer}}, "
            f"got {type(explainers).__name__}"
        )
    for name, explainer in explainers.items():
        _check(name, explainer, model)
    specs = keras_graph.declared_inputs(model)
    if specs is None:
        raise ValueError(
            f"model: {model.name} declares no inputs; wrap it: keras.Model(x, model(x)), x = "
            "keras.Input(...)"
        )
    target = Path(path)
    if target.exists():
        raise ValueError(f"path={str(path)!r} exists already")
    prepare, signature = from_served(inputs, specs, preprocess)
    module = served_module(model, explainers, prepare, signature)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Written beside its place and moved: a folder of this name is a whole one.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as room:
        written = Path(room) / "model"
        note = Path(room) / METADATA
        note.write_text("{}")
        module.metadata = tf.saved_model.Asset(str(note))
        tf.saved_model.save(module, str(written), signatures=module.endpoints)
        loaded = tf.saved_model.load(str(written))
        names = class_names or getattr(model, "class_names", None)
        metadata = {
            "model": model.name,
            "inputs": inputs,
            "preprocess": readable({"preprocess": preprocess})["preprocess"],
            "class_names": None if names is None else list(names),
            "explainers": {name: e.settings for name, e in explainers.items()},
            "signatures": {name: _shapes(s) for name, s in loaded.signatures.items()},
            "versions": versions(),
            "parity": _parity(loaded.signatures, module.endpoints, signature),
        }
        (written / "assets" / METADATA).write_text(json.dumps(metadata, indent=1))
        shutil.move(written, target)
    return target


def metadata(path: str | PathLike[str]) -> dict[str, Any]:
    """Read the metadata of what `export` wrote.

    Raises:
        ValueError: it is no such model.

    Example:
        >>> metadata("nowhere")
        Traceback (most recent call last):
        ValueError: nowhere is no model that tfxai exported
    """
    try:
        return json.loads((Path(path) / "assets" / METADATA).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no model that tfxai exported") from error


def _check(name: str, explainer: Any, model: keras.Model) -> None:
    if not isinstance(name, str) or not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"explainers: {name!r} cannot name a signature: use letters, digits and _")
    if not isinstance(explainer, Explainer):
        raise TypeError(f"explainers[{name!r}]: expected an Explainer, got {explainer!r}")
    if explainer.model is not model:
        raise ValueError(
            f"explainers[{name!r}] explains another model, {explainer.model.name}: build it on "
            "the one that is exported"
        )


def _shapes(served: Any) -> dict[str, dict[str, list]]:
    """Give the shape and type of what a signature takes and gives, by name."""
    sides = {"inputs": served.structured_input_signature[1]}
    sides["outputs"] = served.structured_outputs
    return {
        side: {name: [spec.shape.as_list(), spec.dtype.name] for name, spec in specs.items()}
        for side, specs in sides.items()
    }


def _parity(
    written: Mapping[str, Callable],
    live: Mapping[str, Any],
    signature: Mapping[str, tf.TensorSpec],
) -> dict[str, float]:
    """Give the largest difference of the written signatures from the live ones, on two examples."""
    examples = {name: _example(spec) for name, spec in signature.items()}
    differences = {}
    for name, function in live.items():
        asked = {"targets": tf.constant([PREDICTED] * 2), "seed": tf.constant(0)}
        if name == "serving_default":
            asked = {}
        once = function.get_concrete_function()  # TensorFlow warns of calls of several functions
        pairs = zip(
            tf.nest.flatten(once(as_argument(examples), *asked.values())),
            tf.nest.flatten(written[name](**examples, **asked)),
            strict=True,
        )
        differences[name] = max(_difference(a.numpy(), b.numpy()) for a, b in pairs)
    return differences


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    if np.array_equal(one, other, equal_nan=True):
        return 0.0
    return float(np.abs(one.astype(np.float64) - other).max())


def _example(spec: tf.TensorSpec) -> tf.Tensor:
    random = np.random.default_rng(0)
    if spec.dtype == tf.string:
        pixels = random.integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
        return tf.stack([tf.io.encode_png(p) for p in pixels])
    shape = [2, *(8 if n is None else n for n in spec.shape[1:])]
    if spec.dtype == tf.uint8:
        return tf.constant(random.integers(0, 256, shape).astype(np.uint8))
    return tf.cast(tf.constant(random.uniform(size=shape)), spec.dtype)
