"""Folders that several runs may write to, one after another.

A run locks the folder while it writes, and each file appears only when it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Make the directory, and keep other runs out of it while the context is open.

    The lock ends with the process, too, if that is killed.

    Raises:
        ValueError: another run is writing to the directory, or it cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(f"out={str(directory)!r}: another run is writing there") from error
    except OSError as error:
        raise ValueError(f"out={str(directory)!r}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in such a way that nobody ever reads a part of it."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(content)
    partial.replace(path)
