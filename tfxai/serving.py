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

from tfxai import checks, graph
from tfxai.explainer import Explainer
from tfxai.heads import PREDICTED
from tfxai.served_inputs import KINDS, Preprocess, by_name, from_served
from tfxai.settings import versions
from tfxai.types import Tensors

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
    ``explain_<name>``: inputs, ``targets`` int32 ``[B]`` (-1 for the predicted class) and ``seed``
    int32 ``[]`` -> ``attributions``, ``scores``, ``targets`` and the method's own numbers, such as
    ``completeness_gap`` or ``standard_error``. Batches may be of any size. Metadata is the asset
    ``tfxai.json``: methods and options, versions, class names, what the signatures take and give,
    and how far the numbers of the written model are from those of the explainers here (0 as a
    rule).

    Args:
        model: a Keras model with declared inputs.
        path: a folder that does not exist yet.
        explainers: name -> an explainer of this very model.
        inputs: "tensor" takes what the model takes, "uint8" pixels ``[B, H, W, C]`` of its size,
            "bytes" encoded JPEG or PNG images ``[B]`` of any size, of which the middle is cut and
            resized.
        preprocess: for "uint8" and "bytes", from pixels in 0..255 to what the model takes, in
            TensorFlow; None where the model takes these pixels.
        class_names: for the metadata; None for the model's `class_names`.

    Returns:
        The path.

    Raises:
        TypeError: something that is no explainer.
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
    """
    checks.model(model)
    checks.one_of("inputs", inputs, KINDS)
    for name, explainer in explainers.items():
        _check(name, explainer, model)
    specs = graph.declared_inputs(model)
    if specs is None:
        raise ValueError(
            f"model: {model.name} declares no inputs; wrap it: keras.Model(x, model(x)), x = "
            "keras.Input(...)"
        )
    target = Path(path)
    if target.exists():
        raise ValueError(f"path={str(path)!r} exists already")
    prepare, signature = from_served(inputs, specs, preprocess)
    module = _module(model, explainers, prepare, signature)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Written beside its place and moved: a folder of this name is a whole one.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as room:
        written = Path(room) / "model"
        note = Path(room) / METADATA
        note.write_text("{}")
        module.metadata = tf.saved_model.Asset(str(note))
        tf.saved_model.save(module, str(written), signatures=module.endpoints)
        names = class_names or getattr(model, "class_names", None)
        metadata = {
            "model": model.name,
            "inputs": inputs,
            "class_names": None if names is None else list(names),
            "explainers": {name: e.settings for name, e in explainers.items()},
            "signatures": {name: _shapes(e) for name, e in module.endpoints.items()},
            "versions": versions(),
            "parity": _parity(written, module.endpoints, signature),
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


def _module(
    model: keras.Model,
    explainers: Mapping[str, Explainer],
    prepare: Callable[[Tensors], Tensors],
    signature: dict[str, tf.TensorSpec],
) -> tf.Module:
    """Give a module with `endpoints`, and the variables that they read."""
    module = tf.Module()
    owned = {id(v): v.value for m in (model, *explainers.values()) for v in m.variables}
    module.owned = list(owned.values())

    def predict(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return by_name("outputs", model(prepare(inputs), training=False))

    module.endpoints = {"serving_default": _traced(predict, signature)}
    asked = {"targets": tf.TensorSpec([None], tf.int32), "seed": tf.TensorSpec([], tf.int32)}
    for name, explainer in explainers.items():
        endpoint = _explaining(explainer, prepare)
        module.endpoints[f"explain_{name}"] = _traced(endpoint, {**signature, **asked})
    return module


def _explaining(explainer: Explainer, prepare: Callable[[Tensors], Tensors]) -> Callable:
    def explain(
        *, targets: tf.Tensor, seed: tf.Tensor, **inputs: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        found = explainer.measure(prepare(inputs), targets, seed)
        return {
            **by_name("attributions", found.measured.attributions),
            "scores": found.scores,
            "targets": found.targets,
            **{
                k: v
                for name, n in found.measured.numbers.items()
                for k, v in by_name(name, n).items()
            },
        }

    return explain


def _traced(function: Callable, signature: dict[str, tf.TensorSpec]) -> Any:
    named = {
        name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in signature.items()
    }
    return tf.function(function, autograph=False).get_concrete_function(**named)


def _shapes(endpoint: Any) -> dict[str, dict[str, list]]:
    """Give the shape and type of what a signature takes and gives, by name."""
    sides = {"inputs": endpoint.structured_input_signature[1]}
    sides["outputs"] = endpoint.structured_outputs
    return {
        side: {name: [spec.shape.as_list(), spec.dtype.name] for name, spec in specs.items()}
        for side, specs in sides.items()
    }


def _parity(
    written: Path, endpoints: Mapping[str, Callable], signature: Mapping[str, tf.TensorSpec]
) -> dict[str, float]:
    """Give the largest difference of the written signatures from the live ones, on two examples."""
    loaded = tf.saved_model.load(str(written))
    examples = {name: _example(spec) for name, spec in signature.items()}
    differences = {}
    for name, live in endpoints.items():
        asked = {"targets": tf.constant([PREDICTED] * 2), "seed": tf.constant(0)}
        given = examples if name == "serving_default" else {**examples, **asked}
        pairs = zip(
            tf.nest.flatten(live(**given)),
            tf.nest.flatten(loaded.signatures[name](**given)),
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
