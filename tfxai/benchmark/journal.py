"""A run's directory: what has been computed, line by line, so that nothing is computed twice.

``settings.json`` says what the run is of, ``journal.jsonl`` has a line for each batch and method.
A line is written at once and to the disk; one that a killed run left half-written is dropped.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tfxai.core.folders import write_whole

FIXED = ("format", "model", "batch_size", "seed", "sign", "bounds", "shown", "versions")
"""Settings that a run keeps. Methods and metrics may be added, not changed."""


def open_run(directory: Path, settings: dict[str, Any]) -> None:
    """Note what the run is of, or check that it goes on with what was begun.

    Raises:
        ValueError: the directory has a run of something else.
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
            added = {n: v for n, v in before[kind].items() if n not in settings[kind]}
            settings[kind] |= added
    write_whole(path, json.dumps(settings, indent=1).encode())
    _drop_torn_line(directory / "journal.jsonl")


def read_settings(directory: Path) -> dict[str, Any]:
    """Read what a run is of.

    Raises:
        ValueError: the directory has no run.
    """
    try:
        return json.loads((directory / "settings.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{directory} has no run of a benchmark: {error}") from error


def append(directory: Path, line: dict[str, Any]) -> None:
    """Add a line, on the disk when this returns."""
    with (directory / "journal.jsonl").open("ab") as file:
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def lines(directory: Path) -> list[dict[str, Any]]:
    """Read all whole lines.

    Raises:
        ValueError: a line in the middle is damaged.
    """
    path = directory / "journal.jsonl"
    if not path.exists():
        return []
    found = []
    for number, text in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            found.append(json.loads(text))
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is damaged: {error}") from error
    return found


def _drop_torn_line(path: Path) -> None:
    if path.exists():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            write_whole(path, whole)
