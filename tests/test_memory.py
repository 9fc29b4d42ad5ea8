"""The memory that a computation may take: of the machine, of a container, of a GPU."""

import types

import pytest
import tensorflow as tf

from tfxai.core import memory

GIB = 2**30


def machine(folder, available):
    path = folder / "meminfo"
    path.write_text(f"MemTotal: 99 kB\nMemAvailable: {available // 1024} kB\n")
    return path


def test_the_machine_counts_where_no_container_has_a_limit(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("12345\n")
    assert memory.free_bytes(tmp_path, machine(tmp_path, 3 * GIB)) == 3 * GIB


def test_a_container_counts_without_what_it_keeps_of_files(tmp_path):
    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    (tmp_path / "memory.current").write_text(f"{GIB // 2}\n")
    (tmp_path / "memory.stat").write_text(f"anon 7\ninactive_file {GIB // 8}\n")
    assert memory.free_bytes(tmp_path, machine(tmp_path, 3 * GIB)) == GIB * 5 // 8


def test_a_container_of_the_first_version(tmp_path):
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text(f"{GIB}\n")
    (tmp_path / "memory/memory.usage_in_bytes").write_text(f"{2 * GIB}\n")
    assert memory.free_bytes(tmp_path, machine(tmp_path, 3 * GIB)) == 0


def test_a_machine_that_tells_nothing_has_some_memory(tmp_path):
    assert memory.free_bytes(tmp_path, tmp_path / "nothing") > 0


@pytest.mark.parametrize(("free", "expected"), [(0, 1), (GIB, GIB // 4)])
def test_the_budget_of_a_cpu_is_a_quarter_of_what_is_free(monkeypatch, free, expected):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    monkeypatch.setattr(memory, "free_bytes", lambda: free)
    assert memory.memory_budget() == expected


def test_the_budget_of_gpus_is_half_of_what_the_fullest_has_left(monkeypatch):
    names = [f"/device:GPU:{i}" for i in range(2)]
    gpus = [types.SimpleNamespace(name=name, memory_limit=16 * GIB) for name in names]
    used = {"GPU:0": GIB, "GPU:1": 12 * GIB}
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus)
    monkeypatch.setattr(memory.device_lib, "list_local_devices", lambda: gpus)
    monkeypatch.setattr(
        tf.config.experimental, "get_memory_info", lambda name: {"current": used[name]}
    )
    assert memory.memory_budget() == 2 * GIB


@pytest.mark.parametrize(
    ("budget", "row", "on_cpu", "on_gpu"),
    [
        (1, 100, 1, 1),
        (GIB, 2**28, 4, 4),  # as many as fit
        (8 * GIB, 2**28, 10, 32),  # of large models few
        (8 * GIB, 2**20, 512, 8192),  # of small ones many
    ],
)
def test_a_chunk_has_no_more_rows_than_are_of_use(monkeypatch, budget, row, on_cpu, on_gpu):
    for devices, expected in (([], on_cpu), (["a GPU"], on_gpu)):
        monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind, d=devices: d)
        assert memory.rows_within(budget, row) == expected
