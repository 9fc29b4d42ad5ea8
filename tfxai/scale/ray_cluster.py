"""Ray: connecting to a cluster, sharing its CPUs among workers, and running the workers."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tfxai.scale.types import Shard
from tfxai.scale.worker import Job, Worker


@contextmanager
def connected() -> Iterator[None]:
    """Connect to a cluster for the length of a block.

    It is the cluster that is connected already, or the one named by RAY_ADDRESS, or a new one on
    this machine. A cluster that is started here is stopped at the end.

    Raises:
        ModuleNotFoundError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise ModuleNotFoundError("explain_dataset needs Ray: pip install 'tfxai[ray]'")
    import ray

    started = not ray.is_initialized()
    if started:
        # TensorFlow leaves oneDNN off by itself on some CPUs, where it is faster with it.
        one_dnn = {"TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1")}
        ray.init(
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": one_dnn},
        )
    try:
        yield
    finally:
        if started:
            ray.shutdown()


def cpus_per_worker(workers: int, cpus: float | None, gpus: float) -> float:
    """Give the number of CPUs for each worker, and check that all workers fit into the cluster.

    Args:
        workers: how many workers there will be.
        cpus: the number of CPUs for each worker; None for `even_share` of all CPUs.
        gpus: the number of GPUs for each worker.

    Raises:
        ValueError: the cluster has too few CPUs or GPUs; Ray would wait for ever.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [node.get("CPU", 0.0) for node in nodes]
    share = even_share(cores, workers) if cpus is None else cpus
    fitting = sum(
        min(
            math.floor(node.get("CPU", 0.0) / share + 1e-9),
            math.floor(node.get("GPU", 0.0) / gpus + 1e-9) if gpus else workers,
        )
        for node in nodes
    )
    if fitting < workers:
        raise ValueError(
            f"num_actors={workers}: {fitting} workers of {share:g} CPUs and {gpus:g} GPUs fit into "
            f"the cluster, which has {sum(cores):g} CPUs and "
            f"{sum(node.get('GPU', 0.0) for node in nodes):g} GPUs; use fewer, or change "
            "cpus_per_actor or gpus_per_actor"
        )
    return share


def even_share(cores: Sequence[float], workers: int) -> float:
    """Give the largest number of CPUs for each worker with which all workers fit.

    It is a whole number, or 1/k where there are fewer CPUs than workers, as Ray requires.

    Args:
        cores: the number of CPUs of each machine.
        workers: how many workers there will be.
    """
    for each in range(int(max(cores)), 0, -1):
        if sum(core // each for core in cores) >= workers:
            return float(each)
    return 1 / math.ceil(workers / max(1, sum(int(core) for core in cores)))


def run(
    shards: Sequence[Shard], job: Job, workers: int, cpus: float, gpus: float
) -> Generator[dict[str, Any]]:
    """Run workers on shards, and give the outcome of each shard as soon as it is known.

    Ray replaces a worker that died, and gives its shard to another worker.

    Args:
        shards: the shards to explain.
        job: the settings of the workers.
        workers: how many workers there are.
        cpus: the number of CPUs for each worker.
        gpus: the number of GPUs for each worker.

    Yields:
        What `Worker` returns for a shard.

    Raises:
        RuntimeError: the workers cannot be started.
    """
    import ray

    worker_class: Any = Worker  # Ray's own types know functions only
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with ray.data.DataContext.current(context):
            # One block for each shard, so that no shard waits behind one that takes long.
            blocks = ray.data.from_items(
                [shard._asdict() for shard in shards], override_num_blocks=len(shards)
            )
            outcomes = blocks.map(
                worker_class,
                fn_constructor_args=[job],
                compute=ray.data.ActorPoolStrategy(size=workers),
                num_cpus=cpus,
                num_gpus=gpus,
            )
            yield from outcomes.iter_rows()
    except ray.exceptions.RayError as error:
        raise RuntimeError(f"the workers failed: {error}") from error
    finally:
        logger.setLevel(level)
