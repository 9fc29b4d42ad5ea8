"""The worker in each process of Ray: it loads a model once, and explains shards."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import tensorflow as tf

from tfxai.scale import images, shard_folder
from tfxai.scale.arrow_table import Row
from tfxai.scale.served_explainer import Content, ServedExplainer, reason
from tfxai.scale.types import Image, Shard


class Job(NamedTuple):
    """The settings that all workers of a call share."""

    model: str
    """The folder of the exported model."""
    explainer: str
    """The explainer's name in the export."""
    input_kind: str
    """The inputs of the exported model: "bytes", "uint8" or "tensor"."""
    seed: int
    root: str
    """The folder that the images' paths are relative to."""
    out: str
    """The folder to write the shards into."""
    schema: bytes
    """The schema of the shards, serialised by Arrow."""
    columns: list[str]
    """The Parquet column of images, then the column of targets if there is one."""
    batch_size: int
    threads: int | None
    """How many threads TensorFlow may use; None for its default."""


class Worker:
    """Explains shards, one after another; Ray makes one in each of its processes.

    Args:
        job: the settings.
    """

    def __init__(self, job: Job):
        if job.threads is not None:
            _share_the_machine(job.threads)
        self._job = job
        self._schema = pa.ipc.read_schema(pa.py_buffer(job.schema))
        self._explainer = ServedExplainer(job.model, job.explainer, job.input_kind, job.seed)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Explain a shard and write it, unless another worker has written it.

        Args:
            row: a `Shard` as a dict, in which Ray passes it.

        Returns:
            The number of the ``shard``, how many ``images`` it has, whether it is ``given_up``,
            and the ``problem``, which is "" if the shard is written. A problem is returned and not
            raised, because Ray buries the cause in exceptions of its own.
        """
        shard = Shard(**{**row, "files": list(row["files"]), "targets": list(row["targets"])})
        outcome = {"shard": shard.number, "images": len(shard.targets), "given_up": False}
        try:
            if not shard_folder.shard_path(Path(self._job.out), shard.number).exists():
                self._write(shard)
        except shard_folder.GivenUpError as error:
            return {**outcome, "given_up": True, "problem": str(error)}
        except Exception as error:
            return {**outcome, "problem": f"{type(error).__name__}: {error}"}
        return {**outcome, "problem": ""}

    def _write(self, shard: Shard) -> None:
        job = self._job
        shard_images = images.read(shard, Path(job.root), job.columns)
        with shard_folder.open_shard(Path(job.out), shard.number, self._schema) as writer:
            while batch := list(islice(shard_images, job.batch_size)):
                shard_folder.write_rows(writer, self._rows(batch))

    def _rows(self, batch: Sequence[Image]) -> list[Row]:
        """Explain the readable images of a batch; give a row for each image, in their order."""
        rows: list[Row] = []
        readable: list[tuple[Row, Content, int]] = []
        for image in batch:
            row: Row = {"path": image.path, "row": image.row, "error": image.error}
            rows.append(row)
            if image.content is not None:
                try:
                    inputs = self._explainer.input_of(image.content)
                    readable.append((row, inputs, image.target))
                except (ValueError, tf.errors.InvalidArgumentError) as error:
                    row["error"] = reason(error)
        if readable:
            to_fill, contents, targets = zip(*readable, strict=True)
            outputs = self._explainer.explain(contents, targets)
            for row, output in zip(to_fill, outputs, strict=True):
                row.update(output)
        return rows


def _share_the_machine(threads: int) -> None:
    """Limit TensorFlow to some threads, and on a GPU to the memory that it needs."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
