"""Races tfxai against the libraries that users would pick instead (docs/race.md).

Every library is a process of its own. In the steady state they run in turns, round by round, so
that all of them see the same machine; first calls and memory are measured in fresh processes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import contestants
import machine
import numpy as np
import table
import works

HERE = Path(__file__).parent
FIRST_CALL_WORKS = ("gradient", "ig")
DISTURBED = 0.1
"""The share of the cores from which on other processes disturb a round."""


class Process:
    """A worker, seen from the race."""

    def __init__(self, python, name, environment):
        script = str(HERE / f"{name}_worker.py")
        self._process = subprocess.Popen(
            [python, script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def ask(self, do, **request):
        """Ask, and wait for the answer."""
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        return json.loads(answer) if answer else {"error": "the process ended"}

    def close(self):
        """End it."""
        self._process.stdin.close()
        self._process.wait()


class Race:
    """Runs the works, and keeps what was measured."""

    def __init__(self, options):
        self.options, self.results = options, Results(options)
        self.environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
        if options.onednn is not None:
            self.environment["TF_ENABLE_ONEDNN_OPTS"] = options.onednn
        self.processes, self.fastest_captum = {}, {}
        self.folder = options.out.parent / "race"

    def process(self, worker, model):
        """Start a worker, and let it load the network."""
        pythons = {"captum": self.options.torch_python, "tfxai": sys.executable}
        pythons["plain"] = sys.executable
        python = pythons.get(worker, self.options.peers_python)
        process = Process(python, worker, self.environment)
        answer = process.ask("load", model=model, folder=str(self.folder))
        self.results.versions.update(answer.get("versions", {}))
        return process, answer.get("error")

    def export(self, model):
        """Write the network where the worker of PyTorch finds it."""
        script = [str(HERE / "keras_networks.py"), model, str(self.folder)]
        subprocess.run(
            [sys.executable, *script], check=True, env=self.environment, stderr=subprocess.DEVNULL
        )

    def run(self):
        """Run everything."""
        options = self.options
        for model in options.models:
            self.export(model)
            for work in [w for w in options.works if works.has(model, w)]:
                for batch in self.batches(work) if options.rounds else ():
                    self.steady(model, work, batch)
            for process, _ in self.processes.values():
                process.close()
            self.processes = {}
            for work in options.first:
                if model in options.first_models and works.has(model, work):
                    self.first(model, work)

    def batches(self, work):
        """Give the numbers of images: long works take one, unless --batches says otherwise."""
        if self.options.batches:
            return self.options.batches
        return (1,) if work in works.BATCHED else (10,)

    def taking_part(self, model, work, batch):
        """Give the contestants; works other than the gradient have one setting of Captum."""
        one = work != "gradient" and not self.options.all_captums
        setting = self.fastest_captum.get(model, "Captum CL") if one else None
        return contestants.taking_part(work, self.options.peers, setting)

    def settings(self, contestant, work, rows):
        """Give the options of a contestant for a work."""
        settings = dict(contestant.settings)
        if work == "rise":
            settings["masks"] = self.options.masks
        if work in works.BATCHED and contestant.chooses_rows:
            settings["rows"] = rows
        return settings

    def steady(self, model, work, batch):
        """Time a work in the steady state, in turns."""
        row, ready, times = (work, model, batch), {}, {}
        for contestant in self.taking_part(model, work, batch):
            if contestant.worker not in self.processes:
                self.processes[contestant.worker] = self.process(contestant.worker, model)
            process, error = self.processes[contestant.worker]
            answer = {"error": error} if error else self.qualify(process, contestant, row)
            if "error" in answer:
                self.results.steady(row, contestant.name, answer)
            else:
                ready[contestant.name] = process
                self.results.rows(row, contestant.name, answer["rows"])
        for name, answers in self.rounds(ready).items():
            self.results.steady(row, name, answers)
            if "values" in answers:
                times[name] = answers["values"]
        if work == "gradient":
            captums = {c.name: times[c.name] for c in contestants.CAPTUMS if c.name in times}
            if captums:
                self.fastest_captum[model] = min(captums, key=lambda n: np.median(captums[n]))
        self.compare_maps(row, ready)
        for name, process in ready.items():
            process.ask("forget", keys=[name])
        self.results.write()

    def rounds(self, ready):
        """Let all run in turns, and give the seconds of the rounds that nobody else disturbed.

        A round is disturbed where processes outside the race took more than a share of the cores
        while a contestant ran. There are at most three times the rounds that were asked for; then
        the least disturbed ones count.
        """
        failed, rounds = {}, []
        while ready and len(rounds) < 3 * self.options.rounds:
            seconds, disturbance = {}, 0.0
            for name, process in rotated(list(ready.items()), len(rounds)):
                answer, share = timed(process, name)
                if "error" in answer:
                    failed[name] = answer
                    ready.pop(name)
                else:
                    seconds[name] = answer["seconds"]
                    disturbance = max(disturbance, share)
            rounds.append((disturbance, seconds))
            calm = sum(disturbance < DISTURBED for disturbance, _ in rounds)
            if calm >= self.options.rounds:
                break
        best = sorted(rounds, key=lambda r: r[0])[: self.options.rounds]
        print(f"    outside the race: {', '.join(f'{share:.0%}' for share, _ in best)}")
        return failed | {name: {"values": [s[name] for _, s in best]} for name in ready}

    def qualify(self, process, contestant, row):
        """Prepare a contestant with the number of rows at a time that is fastest for it."""
        work, _, batch = row
        chooses = work in works.BATCHED and contestant.chooses_rows
        candidates = self.options.rows if chooses else [None]
        seconds = {}
        for rows in candidates:
            settings = self.settings(contestant, work, rows)
            request = {"work": work, "batch": batch, "options": settings}
            answer = process.ask("prepare", key=contestant.name, **request)
            if "error" in answer:
                return answer
            if len(candidates) > 1:
                seconds[rows] = process.ask("run", key=contestant.name)["seconds"]
        best = min(seconds, key=seconds.get) if seconds else candidates[0]
        if best != candidates[-1]:
            settings = self.settings(contestant, work, best)
            request = {"work": work, "batch": batch, "options": settings}
            answer = process.ask("prepare", key=contestant.name, **request)
        return {**answer, "rows": best}

    def compare_maps(self, row, ready):
        """Compare the maps with ours where they depend on no random numbers."""
        if row[0] in works.RANDOM or contestants.OURS.name not in ready:
            return
        maps = {}
        for name, process in ready.items():
            path = self.folder.resolve() / "map.npy"
            if "error" not in process.ask("save", key=name, path=str(path)):
                maps[name] = np.load(path)
        for name, other in maps.items():
            self.results.cosine(row, name, cosine(other, maps[contestants.OURS.name]))

    def first(self, model, work):
        """Time the first call, and its peak of memory, in fresh processes."""
        batch = 10 if work == "gradient" else 1
        for contestant in self.taking_part(model, work, batch):
            for _ in range(self.options.first_rounds):
                process, error = self.process(contestant.worker, model)
                rows = self.results.rows_of((work, model, batch), contestant.name)
                settings = self.settings(contestant, work, rows or self.options.rows[-1])
                request = {"work": work, "batch": batch, "options": settings}
                answer = (
                    {"error": error} if error else process.ask("prepare", key="first", **request)
                )
                process.close()
                self.results.first((work, model, batch), contestant.name, answer)
            self.results.write()


def timed(process, name):
    """Run a contestant; give its answer, and the share of the cores that others took meanwhile."""
    before, start = machine.busy_seconds(), time.perf_counter()
    answer = process.ask("run", key=name)
    if "error" in answer or before is None:
        return answer, 0.0
    others = machine.busy_seconds() - before - answer["processor_seconds"]
    return answer, others / (machine.cores() * (time.perf_counter() - start))


def rotated(items, k):
    """Begin each round with another contestant, so that none always runs after the same one."""
    k %= max(len(items), 1)
    return items[k:] + items[:k]


def cosine(a, b):
    """Give the smallest cosine of an image's maps; of absolute values if one has no signs.

    Images of which both maps are zero, as Grad-CAM's may be, are left out.
    """
    a, b = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (a, b)))
    a, b = (v.reshape(len(v), -1) for v in (a, b))
    if a.min() >= 0 or b.min() >= 0:
        a, b = abs(a), abs(b)
    some = a.any(1) | b.any(1)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(1)[some] / np.maximum(lengths[some], 1e-300)).min(initial=1))


class Results:
    """What was measured, written after every work so that a race that is stopped has its part."""

    def __init__(self, options):
        self.options, self.path = options, options.out.with_suffix(".json")
        self.data = {
            "versions": {},
            "steady": {},
            "first": {},
            "peak": {},
            "cosine": {},
            "rows": {},
        }
        if options.add and self.path.exists():
            self.data = json.loads(self.path.read_text())
        self.versions = self.data["versions"]

    def _put(self, kind, row, name, value):
        self.data[kind].setdefault(json.dumps(row), {})[name] = value

    def steady(self, row, name, result):
        """Keep seconds, or an error, in the steady state."""
        self._put("steady", row, name, result)
        print(*row, name, table.with_range(result["values"]) if "values" in result else result)

    def rows(self, row, name, rows):
        """Keep how many rows at a time were fastest."""
        if rows is not None:
            self._put("rows", row, name, rows)

    def rows_of(self, row, name):
        """Give how many rows at a time were fastest, None if that is not known."""
        return self.data["rows"].get(json.dumps(row), {}).get(name)

    def cosine(self, row, name, value):
        """Keep a cosine with our map."""
        self._put("cosine", row, name, value)

    def first(self, row, name, answer):
        """Keep a first call and its peak of memory."""
        print(*row, "first call", name, answer, flush=True)
        if "error" in answer:
            self._put("first", row, name, answer)
            return
        for kind, field in (("first", "seconds"), ("peak", "peak_mib")):
            known = self.data[kind].get(json.dumps(row), {}).get(name, {}).get("values", [])
            if answer[field] is not None:
                rounds = self.options.first_rounds
                self._put(kind, row, name, {"values": [*known, answer[field]][-rounds:]})

    def _rows_of_table(self, kind):
        return {tuple(json.loads(row)): results for row, results in self.data[kind].items()}

    def write(self):
        """Write the tables and the data."""
        names = [contestant.name for contestant in contestants.ALL]
        kinds = (
            ("steady", "Steady state", "s"),
            ("first", "First call in a fresh process, the network loaded", "s"),
            ("peak", "Peak memory of the first call, above the loaded network", "MiB"),
        )
        parts = [
            "# The race\n",
            machine.describe(self.versions, self.options.onednn_in_force) + "\n",
            "tfxai's median (smallest to largest); for each peer, peer / tfxai: above 1, tfxai is "
            "faster, or takes less memory.\n",
        ]
        for kind, title, unit in kinds:
            rows = self._rows_of_table(kind)
            if rows:
                parts.append(table.comparison(title, unit, names, rows))
                parts.append(table.failures(rows))
        parts.append(self._equal_work())
        parts.append("## Who is who\n\n" + contestants.LEGEND + "\n")
        self.options.out.write_text("\n".join(part for part in parts if part))
        self.path.write_text(json.dumps(self.data, indent=1))

    def _equal_work(self):
        lines = ["## Equal work: cosine with tfxai's map, rows at a time\n"]
        for row in self.data["steady"]:
            found = [
                name + "".join(
                    text.format(self.data[kind][row][name])
                    for kind, text in (("cosine", " {:.5f}"), ("rows", " [{} rows]"))
                    if name in self.data[kind].get(row, {})
                )
                for name in self.data["steady"][row]
                if name != contestants.OURS.name
            ]  # fmt: skip
            lines.append(f"- {' '.join(map(str, json.loads(row)))}: {', '.join(found)}")
        return "\n".join(lines) + "\n"


def arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=works.MODELS, default=["ResNet50", "VGG16"])
    parser.add_argument("--works", nargs="+", choices=works.WORKS, default=works.WORKS)
    parser.add_argument("--batches", nargs="+", type=int, help="default: 10, of long works 1")
    parser.add_argument("--rounds", type=int, default=5, help="0: only first calls")
    parser.add_argument("--rows", nargs="+", type=int, default=[10], help="rows at a time to try")
    parser.add_argument("--masks", type=int, default=256, help="of RISE")
    parser.add_argument("--peers", nargs="+", choices=contestants.WORKERS[1:],
                        default=contestants.WORKERS[1:])  # fmt: skip
    parser.add_argument("--all-captums", action="store_true", help="its four settings everywhere")
    parser.add_argument("--first", nargs="*", choices=works.WORKS, default=FIRST_CALL_WORKS)
    parser.add_argument("--first-models", nargs="*", choices=works.MODELS, default=["ResNet50"])
    parser.add_argument("--first-rounds", type=int, default=1)
    parser.add_argument("--onednn", choices=("0", "1"), help="TF_ENABLE_ONEDNN_OPTS")
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--peers-python", default=sys.executable)
    parser.add_argument("--out", type=Path, default=Path("build/race.md"))
    parser.add_argument("--add", action="store_true", help="to what --out holds already")
    options = parser.parse_args()
    options.onednn_in_force = options.onednn or os.environ.get("TF_ENABLE_ONEDNN_OPTS")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    Race(arguments()).run()
