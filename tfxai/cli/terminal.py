"""What the commands say, and how they answer a mistake."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

console = Console()
errors = Console(stderr=True)


class UserError(Exception):
    """What the user can mend; printed as one line, exit code 2."""


def one_line(error: BaseException) -> str:
    """Give the whole of what an error says, without line breaks."""
    return " ".join(str(error).split())


def say(text: str) -> None:
    """Print a line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def warn(text: str, style: str = "yellow") -> None:
    """Print a line beside the results."""
    errors.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def gathering() -> Iterator[list[str]]:
    """Give a list that has what the library warned of, once the block has ended."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        yield messages
    messages += [str(warning.message) for warning in told]
