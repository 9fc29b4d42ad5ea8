"""The command line ``tfxai``: its commands, and its answers to mistakes."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperCommand

from tfxai.cli.benchmark import benchmark
from tfxai.cli.convert import convert
from tfxai.cli.demo import demo
from tfxai.cli.explain import explain
from tfxai.cli.export import export
from tfxai.cli.methods import BUILDERS, option_names
from tfxai.cli.terminal import UserError, print_error
from tfxai.core import synonyms


class Command(TyperCommand):
    """A command that answers an unknown option with the option that is probably meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # The class is click's, or that of Typer's copy of click, depending on the version.
            if type(error).__name__ != "NoSuchOption":
                raise
            unknown = str(getattr(error, "option_name", ""))
            spellings = self._spellings()
            name = synonyms.closest_name(unknown.lstrip("-"), spellings)
            if name:
                answer = f"; perhaps {spellings[name]}"
            else:
                answer = f": it has {', '.join(self._own_options())}"
            raise UserError(f"{unknown}: {self.name} has no such option{answer}") from error

    def _own_options(self) -> list[str]:
        return [option for p in self.params for option in p.opts if option.startswith("--")]

    def _spellings(self) -> dict[str, str]:
        """Give how this command's options, and those of methods, are written, by their names."""
        own = {option.lstrip("-"): option for option in self._own_options()}
        if "option" not in own:
            return own
        prefix = "" if "method" in own else "METHOD."
        of_methods = {
            name: f"--option {prefix}{name}=..."
            for method in BUILDERS
            for name in option_names(method)
        }
        return of_methods | own


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Explain what image classifiers look at.",
)
for command in (explain, benchmark, demo, convert, export):
    app.command(cls=Command)(command)


def main() -> None:
    """Run the command line; a mistake of its user ends in one line, not in a traceback."""
    try:
        app()
    except UserError as error:
        print_error(f"tfxai: {error}")
        sys.exit(2)
