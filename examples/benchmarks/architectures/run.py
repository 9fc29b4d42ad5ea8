"""Runs every public method of tfxai on every kind of network, and checks each map independently.

Each network is a process of its own; results are lines of JSON, so that a run goes on where it was
ended. docs/architectures.md is written from them.

    python examples/benchmarks/architectures/run.py
    python examples/benchmarks/architectures/run.py --only cnn LSTM --out build/some
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="build/architectures", type=Path)
    parser.add_argument("--only", nargs="+", help="networks, by name or family")
    parser.add_argument("--methods", nargs="+", help="methods; all by default")
    parser.add_argument("--again", action="store_true", help="run networks that have results, too")
    parser.add_argument("--seconds", type=int, default=300, help="the longest time of a network")
    parser.add_argument("--page", type=Path, help="write docs/architectures.md, or another file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def work(name, methods, file):
    """Run the cells of one network in this process, and write a line for each."""
    import matrix

    with file.open("w") as lines:
        for cell in matrix.cells(name, methods):
            lines.write(json.dumps(cell) + "\n")
            lines.flush()
            state = " ".join(str(cell.get(k, "")) for k in ("state", "error", "seconds", "message"))
            print(f"  {cell['method']:36}{state[:150]}", flush=True)


def run_network(name, options, file):
    """Run one network in a process of its own; note a process that dies.

    A network that takes too long has no results, so that a later run begins it again.
    """
    partial = file.with_suffix(".partial")
    command = [sys.executable, __file__, "--worker", name, "--out", str(partial)]
    command += ["--methods", *options.methods] if options.methods else []
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ}
    start = time.perf_counter()
    try:
        ended = subprocess.run(command, env=environment, timeout=options.seconds, check=False)
        problem = None if ended.returncode == 0 else f"the process ended with {ended.returncode}"
    except subprocess.TimeoutExpired:
        print(f"  {name} takes more than {options.seconds} s", flush=True)
        return
    if problem:
        print(f"  {problem}", flush=True)
        with partial.open("a") as lines:
            cell = {"network": name, "method": "(all)", "state": "crashed", "message": problem}
            lines.write(json.dumps(cell) + "\n")
    partial.rename(file)
    print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


def main():
    options = arguments()
    if options.worker:
        work(options.worker, options.methods, options.out)
        return
    import catalogue
    import page

    options.out.mkdir(parents=True, exist_ok=True)
    for name in catalogue.chosen(options.only):
        file = options.out / f"{name.replace(' ', '_')}.jsonl"
        if options.again or not file.exists():
            print(name, flush=True)
            run_network(name, options, file)
    results = page.read(options.out)
    print(page.summary(results))
    if options.page:
        options.page.write_text(page.page(results))


if __name__ == "__main__":
    main()
