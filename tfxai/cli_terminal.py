"""What the commands say, and how they answer a mistake."""

from __future__ import annotations

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
