"""Messages about work that takes long, for a user who waits at a terminal or a notebook."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

PATIENCE = 2.0
"""How many seconds pass before a message is printed."""


@contextmanager
def announced(message: str, *, quiet: bool) -> Iterator[None]:
    """Print a message if the body of the ``with`` takes longer than `PATIENCE` seconds."""
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
    """Whether a user reads what is printed: whether this is a terminal or a notebook."""
    return "ipykernel" in sys.modules or sys.stdout.isatty()
