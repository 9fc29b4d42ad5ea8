"""What runs in each process of Ray: a model that is loaded once, and explains shards."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import tensorflow as tf

from tfxai.scale import images, shards
from tfxai.scale.served import Content, Served, reason
from tfxai.scale.table import Row
from tfxai.scale.units import Image, Shard


class Job(NamedTuple):
    """What a worker is told once."""

    model: str
    explainer: str
    kind: str
    """What the model takes."""
    seed: int
    root: str
    """What the images' paths are relative to."""
    out: str
    schema: bytes
    """The columns to write, as Arrow keeps them."""
    columns: list[str]
    """Of Parquet files to read: the images', and the targets' if there is one."""
    batch_size: int
    threads: int | None
    """How many threads TensorFlow may use; None leaves it as it is."""


class Worker:
    """Explains shards, one after another; Ray makes one in each of its processes.

    Args:
        job: what to do with them.
    """

    def __init__(self, job: Job):
        if job.threads is not None:
            _share_the_machine(job.threads)
        self._job = job
        self._schema = pa.ipc.read_schema(pa.py_buffer(job.schema))
        self._served = Served(job.model, job.explainer, job.kind, job.seed)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Explain a shard and write it, unless another worker has.

        Args:
            row: a `Shard` as a dict, as Ray keeps it.

        Returns:
            The shard's number, how many images it has, and the ``problem`` if it was not written,
            "" if it was. Exceptions are told as values: in Ray's own the cause is hard to find.
        """
        shard = Shard(**{**row, "files": list(row["files"]), "targets": list(row["targets"])})
        told = {"shard": shard.number, "images": len(shard.targets), "given_up": False}
        try:
            if not shards.path_of(Path(self._job.out), shard.number).exists():
                self._write(shard)
        except shards.GivenUpError as error:
            return {**told, "given_up": True, "problem": str(error)}
        except Exception as error:
            return {**told, "problem": f"{type(error).__name__}: {error}"}
        return {**told, "problem": ""}

    def _write(self, shard: Shard) -> None:
        job = self._job
        found = images.read(shard, Path(job.root), job.columns)
        with shards.writing(Path(job.out), shard.number, self._schema) as writer:
            while batch := list(islice(found, job.batch_size)):
                shards.write(writer, self._rows(batch))

    def _rows(self, batch: list[Image]) -> list[Row]:
        """Explain the images of a batch that can be; a row for each, in their order."""
        rows: list[Row] = []
        good: list[tuple[Row, Content, int]] = []
        for image in batch:
            row: Row = {"path": image.path, "row": image.row, "error": image.error}
            rows.append(row)
            if image.content is not None:
                try:
                    good.append((row, self._served.input_of(image.content), image.target))
                except (ValueError, tf.errors.InvalidArgumentError) as error:
                    row["error"] = reason(error)
        if good:
            explained, inputs, targets = zip(*good, strict=True)
            for row, answer in zip(explained, self._served.explain(inputs, targets), strict=True):
                row.update(answer)
        return rows


def _share_the_machine(threads: int) -> None:
    """Keep TensorFlow to some threads, and on a GPU to the memory that it needs."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
