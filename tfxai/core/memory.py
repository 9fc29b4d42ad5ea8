"""How much memory a computation may take on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import tensorflow as tf
from tensorflow.python.client import device_lib

FASTEST_ROWS, FASTEST_BYTES = 10, 2**29
"""On a CPU a chunk of more rows, and of more bytes, is not faster.

Without oneDNN it is slower: 50 images of ResNet50 take 1.5 times as long for each as 4 to 10.
"""
SHARE_OF_CPU, SHARE_OF_GPU = 0.25, 0.5
"""The shares of the free memory that one chunk may take."""
_CGROUP = Path("/sys/fs/cgroup")
_FILES = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)
"""Version 2 and 1: limit, usage, statistics, and what of the usage can be freed."""


def memory_budget() -> int:
    """Give about how many bytes the intermediate results of one chunk may take.

    With GPUs that is half of what the fullest has left; without, a quarter of what is free in the
    machine or in the container.
    """
    free_on_gpus = [_free_on_gpu(gpu) for gpu in tf.config.list_logical_devices("GPU")]
    if free_on_gpus:
        return max(1, int(SHARE_OF_GPU * min(free_on_gpus)))
    return max(1, int(SHARE_OF_CPU * free_bytes()))


def rows_within(budget: int, bytes_per_row: int) -> int:
    """Give how many rows to compute at once: as many as fit into the budget, but at least one.

    On a CPU they are no more than are of use.
    """
    rows = budget // bytes_per_row
    if not tf.config.list_logical_devices("GPU"):
        rows = min(rows, max(FASTEST_ROWS, FASTEST_BYTES // bytes_per_row))
    return max(1, rows)


def free_bytes(cgroup: Path = _CGROUP, meminfo: Path = Path("/proc/meminfo")) -> int:
    """Give how many bytes a process can still take: of the machine, and of its control group.

    Args:
        cgroup: the folder of the process's control group, as a container sees it.
        meminfo: the machine's memory, as Linux describes it; where there is none, a half of the
            machine's memory counts as free, and all of it where its size is not known.
    """
    free = [_free_in_machine(meminfo)]
    for limit_name, usage_name, statistics_name, freeable_name in _FILES:
        limit, usage = _number(cgroup / limit_name), _number(cgroup / usage_name)
        if limit is not None and usage is not None:
            freeable = _entry(cgroup / statistics_name, freeable_name) or 0
            free.append(limit - usage + freeable)
    return max(0, min(free))


def _free_in_machine(meminfo: Path) -> int:
    kilobytes = _entry(meminfo, "MemAvailable:")
    if kilobytes is not None:
        return 1024 * kilobytes
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return FASTEST_BYTES


def _free_on_gpu(device: tf.config.LogicalDevice) -> int:
    limits = {d.name: d.memory_limit for d in device_lib.list_local_devices()}
    used = tf.config.experimental.get_memory_info(device.name.removeprefix("/device:"))
    return limits[device.name] - used["current"]


def _number(path: Path) -> int | None:
    """Give the number in a file; None if there is no such file or it says "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _entry(path: Path, name: str) -> int | None:
    """Give the number beside a name in a file of lines "name number"; None if there is none."""
    try:
        words = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return None
    return next((int(w[1]) for w in words if len(w) > 1 and w[0] == name), None)
