"""A benchmark that is killed in mid-run goes on as if it had not been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.test_benchmark import tables
from tfxai.benchmark import Results

ROOT = Path(__file__).parents[2]

KILLED = """
import os
import sys
import time
import numpy as np
from tests.networks import small_cnn
from tests.test_benchmark import BUILDERS
from tfxai import benchmark

class Waiting:
    # Two batches, and no more before there is a file that says so.
    def __len__(self):
        return 12
    def __iter__(self):
        for i, image in enumerate(np.random.default_rng(0).random((12, 8, 8, 3), np.float32)):
            while i == 4 and not os.path.exists(sys.argv[2]):
                time.sleep(0.05)
            yield benchmark.Case(str(i), image)

benchmark.run(small_cnn(), Waiting(), BUILDERS, ["deletion", "gini", "infidelity"], sys.argv[1],
              batch_size=2, verbose=0)
"""


def process(out, go):
    command = [sys.executable, "-c", KILLED, str(out), str(go)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for_lines(directory, number):
    path = directory / "journal.jsonl"
    for _ in range(12000):
        if path.exists() and path.read_bytes().count(b"\n") >= number:
            return
        time.sleep(0.05)
    pytest.fail(f"no {number} lines in {path}")


def test_killed_and_resumed_is_equal_to_the_byte(tmp_path):
    """kill -9 in mid-run; and a second run is refused while the first one lasts."""
    go = tmp_path / "go"
    run = process(tmp_path / "killed", go)
    wait_for_lines(tmp_path / "killed", 4)
    second = process(tmp_path / "killed", go)
    assert second.wait() == 1
    assert "another run is writing there" in second.stderr.read()
    assert run.poll() is None
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    done = Results.load(tmp_path / "killed")
    assert len(done.lines) == 4
    go.write_text("")
    for directory in ("killed", "whole"):
        assert process(tmp_path / directory, go).wait() == 0
    assert tables(tmp_path / "killed") == tables(tmp_path / "whole")
    resumed = Results.load(tmp_path / "killed")
    assert resumed.lines[: len(done.lines)] == done.lines
    assert len(resumed.lines) == 12
