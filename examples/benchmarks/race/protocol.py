"""A worker of the race: one library, asked by one JSON object a line, answering by another.

An idle worker waits for its next line, and takes no time from the others.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import works


def serve(load, versions):
    """Answer until the input ends.

    `load(model, folder)` gives a function (work, images, options) -> run, and run() a map as a
    numpy array ``[B, H, W, C]``. Options are those of a contestant.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker(load, versions)
    for line in sys.stdin:
        request = json.loads(line)
        do = request.pop("do")
        try:
            answer = getattr(worker, do)(**request)
        except Exception as error:
            # Errors of traced functions have their reason in the last line.
            reason = str(error).strip().split("\n")[-1].strip()
            answer = {"error": f"{type(error).__name__}: {reason}"[:300]}
        answers.write(json.dumps(answer) + "\n")


class Worker:
    """What a worker is asked for."""

    def __init__(self, load, versions):
        self._load, self._versions, self._runs = load, versions, {}

    def load(self, model, folder):
        """Load the network."""
        self._contestant = self._load(model, Path(folder))
        return {"versions": self._versions}

    def prepare(self, key, work, batch, options):
        """Build what explains, and call it once: the first call."""
        images = works.images(batch)
        resident = reset_peak()
        start = time.perf_counter()
        run = self._contestant(work, images, options)
        run()
        seconds = time.perf_counter() - start
        self._runs[key] = run
        peak = None if resident is None else memory("VmHWM") - resident
        return {"seconds": seconds, "peak_mib": peak}

    def run(self, key):
        """Call it again; also give the processors' time that it took, of all threads."""
        start, start_of_threads = time.perf_counter(), time.process_time()
        self._runs[key]()
        threads = time.process_time() - start_of_threads
        return {"seconds": time.perf_counter() - start, "processor_seconds": threads}

    def save(self, key, path):
        """Call it again, and write its map."""
        np.save(path, self._runs[key]())
        return {}

    def forget(self, keys):
        """Forget what is no longer asked for."""
        for key in keys:
            self._runs.pop(key, None)
        return {}


def reset_peak():
    """Let the peak of the memory count from now; give what is in use in MiB, None if unknown."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return memory("VmRSS")


def memory(field):
    """Give a line of Linux's account of this process's memory, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024
