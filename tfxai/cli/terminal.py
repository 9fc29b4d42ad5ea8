"""What commands print, and the error that ends a command in one line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

console = Console()
error_console = Console(stderr=True)


class UserError(Exception):
    """A mistake that the user can mend; it is printed as one line, with exit code 2."""


def one_line(error: BaseException) -> str:
    """Give the whole message of an error without line breaks."""
    return " ".join(str(error).split())


def print_line(text: str) -> None:
    """Print a line to stdout, as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_error(text: str, style: str = "red") -> None:
    """Print a line to stderr, as it is."""
    error_console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def print_warning(text: str) -> None:
    """Print a warning to stderr, as it is."""
    print_error(text, "yellow")


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Give a list that holds the messages of the block's warnings once the block has ended."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield messages
    messages += [str(warning.message) for warning in caught]
