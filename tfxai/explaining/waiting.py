"""A word about what takes long, for whoever waits in front of a terminal or a notebook."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

PATIENCE = 2.0
"""Seconds that nobody needs an explanation of."""


@contextmanager
def announced(message: str, *, quiet: bool) -> Iterator[None]:
    """Print a message if what is done meanwhile takes longer than some seconds."""
    if quiet:
        yield
        return
    timer = threading.Timer(PATIENCE, partial(print, message, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def somebody_waits() -> bool:
    """Whether what is printed is read at once: in a terminal or a notebook."""
    return "ipykernel" in sys.modules or sys.stdout.isatty()
