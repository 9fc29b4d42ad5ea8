"""Explain a dataset: cut into shards, of which those that are missing are given to workers."""

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
from tfxai.models.heads import PREDICTED
from tfxai.scale import cluster, parquet_rows, shards, table
from tfxai.scale.images import Images, cut, find
from tfxai.scale.units import Shard
from tfxai.scale.worker import Job
from tfxai.serving import saved_model


class Summary(NamedTuple):
    """What a folder of explanations has."""

    folder: Path
    images: int
    errors: int
    """How many of the images have an error instead of an explanation."""
    explained_now: int
    """How many of the images were done by this call."""


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

    Each of the workers holds the exported model and has no more than a batch of images in memory.
    A shard is written as a whole or not at all: whatever kills a worker, or this call, the same
    call goes on with the shards that are missing. An image that cannot be read or explained has a
    row with its ``error``, and costs no other image anything. `read` gives the rows back; other
    programs see ``path``, ``row`` (in a Parquet file), ``error``, ``target``, ``score``, the
    method's numbers for each image and ``attributions`` as a fixed-shape tensor.

    Args:
        saved_model_dir: what `tfxai.export` wrote, of a model with one input. For image files
            exported with ``inputs="bytes"`` or ``"uint8"``.
        images: a folder, searched with those below it, one file, or a list of files: images
            (BMP, GIF, JPEG, PNG and what else your TensorFlow decodes) or Parquet.
        out: the folder to write; all machines of the cluster must see it, and the other two.
        num_actors: how many processes explain.
        explainer: its name in the export; None if there is only one.
        targets: a class index or name for all, or one index for each image; None for the
            predicted class.
        seed: for methods with random numbers.
        column: the Parquet column of encoded images (bytes, or a struct with ``bytes``), or of
            arrays of numbers.
        target_column: a Parquet column of class indices, instead of `targets`.
        also: arrays of the method to keep beside the attributions, e.g. "standard_error".
        dtype: "float32", or "float16" for half the space: arrays are then stored divided by a
            power of two, which is the column ``<name>_scale``.
        batch_size: images at once in a worker.
        shard_size: images in a file, and what is lost when a worker dies.
        cpus_per_actor: CPUs of each process; None shares out all of the cluster's.
        gpus_per_actor: GPUs of each process.
        verbose: 0 for no progress bar.

    Returns:
        A `Summary`.

    Raises:
        ValueError: a model that tfxai did not export, an unknown explainer or class, no images,
            a folder with other explanations or in use, one that cannot be written, a damaged
            shard, or more workers than the cluster has room for.
        ModuleNotFoundError: Ray is not installed.
        RuntimeError: a shard cannot be written, e.g. on a full disk, or has killed its worker
            three times, e.g. for lack of memory; all other shards are kept.

    Example:
        >>> explain_dataset("nowhere", "photos", "out")
        Traceback (most recent call last):
        ValueError: nowhere is no model that tfxai exported
    """
    told = saved_model.metadata(saved_model_dir)
    name = _explainer(told, explainer)
    signature = told["signatures"][f"explain_{name}"]
    for option, value in (("num_actors", num_actors), ("batch_size", batch_size)):
        checks.positive_integer(option, value)
    checks.one_of("dtype", dtype, table.DTYPES)
    checks.seed(seed)
    for wanted in also:
        checks.one_of("also", wanted, table.arrays(signature["outputs"]))
    columns = [column, *([target_column] if target_column else [])]
    size = checks.positive_integer("shard_size", shard_size)
    work = _work(told, images, Path(out), targets, columns, size)
    settings = {
        "model": _fingerprint(saved_model_dir),
        "explainer": name,
        "method": told["explainers"][name],
        "class_names": told["class_names"],
        "seed": seed,
        "dtype": dtype,
        "also": list(also),
        "columns": columns,
        "images": sum(len(shard.targets) for shard in work),
        "shards": len(work),
        "work": hashlib.sha256(repr(work).encode()).hexdigest(),
    }
    job = Job(
        model=os.path.abspath(saved_model_dir),
        explainer=name,
        kind=told["inputs"],
        seed=seed,
        root=os.getcwd(),
        out=os.path.abspath(out),
        schema=table.columns(signature["outputs"], also, dtype).serialize().to_pybytes(),
        columns=columns,
        batch_size=batch_size,
        threads=None,
    )
    with folders.locked(Path(out)):
        shards.begin(Path(out), settings)
        left = shards.missing(Path(out), work)
        if left:
            _explain(left, job, num_actors, cpus_per_actor, gpus_per_actor, verbose)
            shards.drop_attempts(Path(out))
        errors = sum(shards.errors(Path(out), shard.number) for shard in work)
    now = sum(len(shard.targets) for shard in left)
    return Summary(Path(out), settings["images"], errors, now)


def _explainer(told: dict[str, Any], name: str | None) -> str:
    """Give the explainer's name; of a model that has been checked."""
    names = list(told["explainers"])
    if name is None and len(names) != 1:
        raise ValueError(f"explainer=None: the model has {', '.join(names) or 'none'}; choose one")
    chosen = checks.one_of("explainer", names[0] if name is None else name, names)
    taken = sorted(told["signatures"][f"explain_{chosen}"]["inputs"])
    if taken != ["inputs", "seed", "targets"]:
        raise ValueError(
            f"the model takes {', '.join(taken)}; only models of one input are explained here"
        )
    shape = told["signatures"][f"explain_{chosen}"]["outputs"][table.ATTRIBUTIONS][0]
    if None in shape[1:]:
        raise ValueError(f"the model's maps are of any size, {shape}; export one of a fixed size")
    return chosen


def _work(
    told: dict[str, Any],
    images: Images,
    out: Path,
    targets: Any,
    columns: list[str],
    size: int,
) -> list[Shard]:
    """List the images and cut them into shards, with a target for each (-1 for the predicted)."""
    if isinstance(images, str | PathLike) and out.resolve().is_relative_to(Path(images).resolve()):
        raise ValueError(f"out={str(out)!r} lies within images={str(images)!r}; write elsewhere")
    groups = find(images)
    if groups[0].number < 0:
        if told["inputs"] == "tensor":
            raise ValueError(
                "the model takes tensors, not image files: export it with inputs='bytes', or give "
                "Parquet files with arrays"
            )
        if len(columns) > 1:
            raise ValueError(f"target_column={columns[1]!r} is for Parquet files")
    else:
        parquet_rows.check_columns(groups, columns, told["inputs"])
    count = sum(group.rows for group in groups)
    if targets is None:
        return cut(groups, np.full(count, PREDICTED), size)
    if len(columns) > 1:
        raise ValueError(f"targets={targets!r} and target_column={columns[1]!r}: give one of them")
    outputs = told["signatures"]["serving_default"]["outputs"]
    shape = outputs["outputs"][0] if "outputs" in outputs else []
    units = shape[1] if len(shape) == 2 else None
    return cut(groups, checks.targets(targets, count, units, told["class_names"]), size)


def _fingerprint(saved_model_dir: str | PathLike[str]) -> str:
    """Tell one exported model, with its weights, from another."""
    folder = os.fspath(saved_model_dir)
    return tf.saved_model.experimental.read_fingerprint(folder).singleprint()


def _explain(
    left: list[Shard],
    job: Job,
    workers: int,
    cpus: float | None,
    gpus: float,
    verbose: int,
) -> None:
    workers = min(workers, len(left))
    count = sum(len(shard.targets) for shard in left)
    with cluster.connected():
        each = cluster.share(workers, cpus, gpus)
        job = job._replace(threads=max(1, int(each)))
        with closing(cluster.run(left, job, workers, each, gpus)) as told:
            progress = keras.utils.Progbar(count, verbose=verbose, unit_name="image")
            given_up = list(_given_up(told, progress))
    if given_up:
        some = ", ".join(
            f"{s.number} (from {s.files[0]})" for s in left if s.number in given_up[:9]
        )
        raise RuntimeError(
            f"{len(given_up)} shards are not written, as {shards.ATTEMPTS} workers have died over "
            f"each, for lack of memory perhaps: {some}. All others are written: call again with a "
            "smaller batch_size, or fewer num_actors"
        )


def _given_up(told: Iterator[dict[str, Any]], progress: keras.utils.Progbar) -> Iterator[int]:
    """Follow the workers to the end; give the shards that they die of."""
    for answer in told:
        if answer["given_up"]:
            yield answer["shard"]
        elif answer["problem"]:
            raise RuntimeError(
                f"shard {answer['shard']} is not written: {answer['problem']}. Those that are "
                "written are kept: call again to go on"
            )
        else:
            progress.add(answer["images"])
