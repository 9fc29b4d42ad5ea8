"""`explain_dataset`: cuts a dataset into shards, and has workers explain those that are missing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import checks, folders
from tfxai.models.scored_models import PREDICTED
from tfxai.scale import arrow_table, parquet_images, ray_cluster, shard_folder
from tfxai.scale.images import Images, find, into_shards
from tfxai.scale.types import Group, Shard
from tfxai.scale.worker import Job
from tfxai.serving import saved_model


class Summary(NamedTuple):
    """What a folder of explanations holds."""

    folder: Path
    images: int
    errors: int
    """How many of the images have an error instead of an explanation."""
    explained_now: int
    """How many of the images were explained by this call."""


def explain_dataset(
    saved_model_dir: str | PathLike[str],
    images: Images,
    out: str | PathLike[str],
    num_actors: int = 1,
    *,
    explainer: str | None = None,
    targets: Any = None,
    seed: int = 0,
    column: str = "image",
    target_column: str | None = None,
    also: Sequence[str] = (),
    dtype: str = "float32",
    batch_size: int = 8,
    shard_size: int = 256,
    cpus_per_actor: float | None = None,
    gpus_per_actor: float = 0,
    verbose: int = 1,
) -> Summary:
    """Explain all images of a folder or of Parquet files, by Ray Data, into Parquet files.

    Each worker holds the exported model, and no more than one batch of images in memory. A shard
    is written completely or not at all: whatever kills a worker, or this call, the same call
    continues with the missing shards. An image that cannot be read or explained gets a row with an
    ``error``, and no other image is lost. `read` gives the rows back. Other programs see the
    columns ``path``, ``row`` (in a Parquet file), ``error``, ``target``, ``score``, the method's
    diagnostics for each image, and ``attributions`` as a fixed-shape tensor.

    Args:
        saved_model_dir: a folder that `tfxai.export` wrote, of a model with one input. For image
            files, it must have been exported with ``inputs="bytes"`` or ``"uint8"``.
        images: a folder, which is searched with its subfolders, one file, or a list of files:
            either images (BMP, GIF, JPEG, PNG and what else this TensorFlow decodes) or Parquet.
        out: the folder to write. All machines of the cluster must see this folder, the images and
            the exported model under the same paths.
        num_actors: how many workers, each a process, explain.
        explainer: the explainer's name in the export; None if there is only one.
        targets: a class index or name for all images, or one index for each image; None for the
            predicted classes.
        seed: the seed of methods that draw random numbers.
        column: the Parquet column of images: encoded (bytes, or a struct with ``bytes``), or
            arrays of numbers.
        target_column: a Parquet column of class indices, in place of `targets`.
        also: names of arrays to keep beside the attributions, such as "standard_error".
        dtype: the type of stored arrays: "float32", or "float16" for half the space. Arrays in
            float16 are divided by a power of two, which is in the column ``<name>_scale``.
        batch_size: how many images a worker explains at once.
        shard_size: how many images are written into one file, and are lost if a worker dies.
        cpus_per_actor: the number of CPUs for each worker; None shares out all of the cluster's.
        gpus_per_actor: the number of GPUs for each worker.
        verbose: 0 for no progress bar.

    Returns:
        A `Summary`.

    Raises:
        ValueError: a model that tfxai did not export, an unknown explainer or class, no images, a
            folder with other explanations, a folder that is in use or cannot be written, a damaged
            shard, or more workers than fit into the cluster.
        ModuleNotFoundError: Ray is not installed.
        RuntimeError: a shard cannot be written, for instance on a full disk, or three workers have
            died over it, for instance for lack of memory. All other shards are kept.

    Example:
        >>> explain_dataset("nowhere", "photos", "out")
        Traceback (most recent call last):
        ValueError: nowhere is no model that tfxai exported
    """
    metadata = saved_model.metadata(saved_model_dir)
    name = _explainer_name(metadata, explainer)
    outputs = metadata["signatures"][f"explain_{name}"]["outputs"]
    for option, value in (("num_actors", num_actors), ("batch_size", batch_size)):
        checks.positive_integer(option, value)
    checks.one_of("dtype", dtype, arrow_table.DTYPES)
    checks.seed(seed)
    for array in also:
        checks.one_of("also", array, arrow_table.array_outputs(outputs))
    columns = [column, *([target_column] if target_column else [])]
    size = checks.positive_integer("shard_size", shard_size)
    shards = _shards(metadata, images, Path(out), targets, columns, size)
    settings = {
        "model": _fingerprint(saved_model_dir),
        "explainer": name,
        "method": metadata["explainers"][name],
        "class_names": metadata["class_names"],
        "seed": seed,
        "dtype": dtype,
        "also": list(also),
        "columns": columns,
        "images": sum(len(shard.targets) for shard in shards),
        "shards": len(shards),
        "sha256_of_shards": hashlib.sha256(repr(shards).encode()).hexdigest(),
    }
    job = Job(
        model=os.path.abspath(saved_model_dir),
        explainer=name,
        input_kind=metadata["inputs"],
        seed=seed,
        root=os.getcwd(),
        out=os.path.abspath(out),
        schema=arrow_table.schema(outputs, also, dtype).serialize().to_pybytes(),
        columns=columns,
        batch_size=batch_size,
        threads=None,
    )
    with folders.locked(Path(out)):
        shard_folder.begin_or_resume(Path(out), settings)
        missing = shard_folder.missing_shards(Path(out), shards)
        if missing:
            _explain(missing, job, num_actors, cpus_per_actor, gpus_per_actor, verbose)
            shard_folder.delete_attempts(Path(out))
        errors = sum(shard_folder.count_errors(Path(out), shard.number) for shard in shards)
    explained_now = sum(len(shard.targets) for shard in missing)
    return Summary(Path(out), settings["images"], errors, explained_now)


def _explainer_name(metadata: dict[str, Any], name: str | None) -> str:
    """Give the explainer's name, after a check that the exported model can explain datasets."""
    names = list(metadata["explainers"])
    if name is None and len(names) != 1:
        raise ValueError(f"explainer=None: the model has {', '.join(names) or 'none'}; choose one")
    checked = checks.one_of("explainer", names[0] if name is None else name, names)
    signature = metadata["signatures"][f"explain_{checked}"]
    inputs = sorted(signature["inputs"])
    if inputs != ["inputs", "seed", "targets"]:
        raise ValueError(
            f"the model takes {', '.join(inputs)}; only models of one input are explained here"
        )
    shape = signature["outputs"][arrow_table.ATTRIBUTIONS][0]
    if None in shape[1:]:
        raise ValueError(f"the model's maps are of any size, {shape}; export one of a fixed size")
    return checked


def _shards(
    metadata: dict[str, Any],
    images: Images,
    out: Path,
    targets: Any,
    columns: list[str],
    size: int,
) -> list[Shard]:
    """Find the images, check that the model takes them, and cut them into shards."""
    if isinstance(images, str | PathLike) and out.resolve().is_relative_to(Path(images).resolve()):
        raise ValueError(f"out={str(out)!r} lies within images={str(images)!r}; write elsewhere")
    groups = find(images)
    _check_inputs(groups, columns, metadata["inputs"])
    count = sum(group.rows for group in groups)
    if targets is None:
        return into_shards(groups, np.full(count, PREDICTED), size)
    if len(columns) > 1:
        raise ValueError(f"targets={targets!r} and target_column={columns[1]!r}: give one of them")
    outputs = metadata["signatures"]["serving_default"]["outputs"]
    shape = outputs["outputs"][0] if "outputs" in outputs else []
    classes = max(shape[1], 2) if len(shape) == 2 else None
    checked = checks.targets(targets, count, classes, metadata["class_names"])
    return into_shards(groups, checked, size)


def _check_inputs(groups: Sequence[Group], columns: list[str], input_kind: str) -> None:
    """Raise a ValueError for images of a kind that the exported model does not take."""
    if groups[0].number >= 0:
        parquet_images.check_columns(groups, columns, input_kind)
        return
    if input_kind == "tensor":
        raise ValueError(
            "the model takes tensors, not image files: export it with inputs='bytes', or give "
            "Parquet files with arrays"
        )
    if len(columns) > 1:
        raise ValueError(f"target_column={columns[1]!r} is for Parquet files")


def _fingerprint(saved_model_dir: str | PathLike[str]) -> str:
    """Give a text that differs between exported models, their weights included."""
    folder = os.fspath(saved_model_dir)
    return tf.saved_model.experimental.read_fingerprint(folder).singleprint()


def _explain(
    shards: list[Shard],
    job: Job,
    workers: int,
    cpus: float | None,
    gpus: float,
    verbose: int,
) -> None:
    """Have workers explain shards.

    Raises:
        RuntimeError: a shard is not written.
    """
    workers = min(workers, len(shards))
    count = sum(len(shard.targets) for shard in shards)
    with ray_cluster.connected():
        share = ray_cluster.cpus_per_worker(workers, cpus, gpus)
        job = job._replace(threads=max(1, int(share)))
        with closing(ray_cluster.run(shards, job, workers, share, gpus)) as outcomes:
            progress = keras.utils.Progbar(count, verbose=verbose, unit_name="image")
            given_up = list(_given_up(outcomes, progress))
    if given_up:
        examples = ", ".join(
            f"{s.number} (from {s.files[0]})" for s in shards if s.number in given_up[:9]
        )
        raise RuntimeError(
            f"{len(given_up)} shards are not written, as {shard_folder.ATTEMPTS} workers have died "
            f"over each, for lack of memory perhaps: {examples}. All others are written: call "
            "again with a smaller batch_size, or fewer num_actors"
        )


def _given_up(outcomes: Iterator[dict[str, Any]], progress: keras.utils.Progbar) -> Iterator[int]:
    """Follow the workers to the end; give the numbers of shards that are given up."""
    for outcome in outcomes:
        if outcome["given_up"]:
            yield outcome["shard"]
        elif outcome["problem"]:
            raise RuntimeError(
                f"shard {outcome['shard']} is not written: {outcome['problem']}. Those that are "
                "written are kept: call again to go on"
            )
        else:
            progress.add(outcome["images"])
