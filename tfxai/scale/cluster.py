"""Ray: a cluster to work on, a share of it for each worker, and the work itself."""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tfxai.scale.units import Shard
from tfxai.scale.worker import Job, Worker


@contextmanager
def connected() -> Iterator[None]:
    """Work on the cluster that is connected or named by RAY_ADDRESS, or start one on this machine.

    One that was started is stopped at the end.

    Raises:
        ModuleNotFoundError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise ModuleNotFoundError("explain_dataset needs Ray: pip install 'tfxai[ray]'")
    import ray

    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        if started:
            ray.shutdown()


def share(workers: int, cpus: float | None, gpus: float) -> float:
    """Give how many CPUs each worker gets: `cpus`, or as many as there are for each.

    Raises:
        ValueError: the cluster has not enough, so that Ray would wait for ever.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [node.get("CPU", 0.0) for node in nodes]
    given = even_share(cores, workers) if cpus is None else cpus
    fitting = sum(
        min(
            math.floor(node.get("CPU", 0.0) / given + 1e-9),
            math.floor(node.get("GPU", 0.0) / gpus + 1e-9) if gpus else workers,
        )
        for node in nodes
    )
    if fitting < workers:
        raise ValueError(
            f"num_actors={workers}: {fitting} workers of {given:g} CPUs and {gpus:g} GPUs fit into "
            f"the cluster, which has {sum(cores):g} CPUs and "
            f"{sum(node.get('GPU', 0.0) for node in nodes):g} GPUs; use fewer, or change "
            "cpus_per_actor or gpus_per_actor"
        )
    return given


def even_share(cores: Sequence[float], workers: int) -> float:
    """Give the most CPUs for each worker with which all fit; whole ones, or 1/k as Ray wants it.

    Args:
        cores: of each machine.
        workers: how many there are to be.
    """
    for each in range(int(max(cores)), 0, -1):
        if sum(core // each for core in cores) >= workers:
            return float(each)
    return 1 / math.ceil(workers / max(1, sum(int(core) for core in cores)))


def run(
    shards: Sequence[Shard], job: Job, workers: int, cpus: float, gpus: float
) -> Generator[dict[str, Any]]:
    """Have workers explain shards; give what they tell of each, as it comes.

    Ray restarts a worker that died, and gives its shard to another.

    Raises:
        RuntimeError: the workers cannot be started.
    """
    import ray

    kind: Any = Worker  # Ray's own types know functions only
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with ray.data.DataContext.current(context):
            # One block for each shard, so that none waits behind a shard that takes long.
            units = ray.data.from_items(
                [shard._asdict() for shard in shards], override_num_blocks=len(shards)
            )
            told = units.map(
                kind,
                fn_constructor_args=[job],
                compute=ray.data.ActorPoolStrategy(size=workers),
                num_cpus=cpus,
                num_gpus=gpus,
            )
            yield from told.iter_rows()
    except ray.exceptions.RayError as error:
        raise RuntimeError(f"the workers failed: {error}") from error
    finally:
        logger.setLevel(level)
