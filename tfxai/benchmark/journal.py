"""The journal of a run: what has been computed, line by line, so that nothing is computed twice.

In the directory of a run, ``settings.json`` says what is explained, and how; ``journal.jsonl`` has
a line for each batch and method. A line is on the disk before the next one is computed; a line that
a killed run left half-written is dropped.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tfxai.core.folders import write_whole

FIXED = ("format", "model", "batch_size", "seed", "sign", "bounds", "images_in_report", "versions")
"""Settings that cannot change between calls. Methods and metrics may be added, not changed."""


def open_run(directory: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a run, or check that they go with those of the run that is there.

    Methods and metrics of that run are kept.

    Raises:
        ValueError: the directory has a run with other settings.
    """
    path = directory / "settings.json"
    settings = json.loads(json.dumps(settings))
    if path.exists():
        before = read_settings(directory)
        for name in FIXED:
            if before.get(name) != settings[name]:
                raise ValueError(
                    f"out={str(directory)!r} has a run with {name}={before.get(name)!r}, not "
                    f"{settings[name]!r}: use another directory, or delete this one"
                )
        for kind in ("methods", "metrics"):
            for name in set(before[kind]) & set(settings[kind]):
                if before[kind][name] != settings[kind][name]:
                    raise ValueError(
                        f"out={str(directory)!r} has a run with {name} as {before[kind][name]}, "
                        f"not {settings[kind][name]}: use another directory, or another name"
                    )
            kept = {n: v for n, v in before[kind].items() if n not in settings[kind]}
            settings[kind] |= kept
    write_whole(path, json.dumps(settings, indent=1).encode())
    _drop_torn_line(directory / "journal.jsonl")


def read_settings(directory: Path) -> dict[str, Any]:
    """Read the settings of a run.

    Raises:
        ValueError: the directory has no run.
    """
    try:
        return json.loads((directory / "settings.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{directory} has no run of a benchmark: {error}") from error


def append(directory: Path, line: dict[str, Any]) -> None:
    """Add a line; it is on the disk when this returns."""
    with (directory / "journal.jsonl").open("ab") as file:
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def lines(directory: Path) -> list[dict[str, Any]]:
    """Read all lines that were written to their end.

    Raises:
        ValueError: a line in the middle is damaged.
    """
    path = directory / "journal.jsonl"
    if not path.exists():
        return []
    records = []
    for number, text in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            records.append(json.loads(text))
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is damaged: {error}") from error
    return records


def _drop_torn_line(path: Path) -> None:
    """Cut off a last line that was not written to its end."""
    if path.exists():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            write_whole(path, whole)
