"""A command that answers an option which it does not have with the one that is meant."""

from __future__ import annotations

import inspect
from typing import Any

from typer.core import TyperCommand

from tfxai.cli.arguments import METHODS
from tfxai.cli.terminal import UserError
from tfxai.core import synonyms


class Command(TyperCommand):
    """A command of ``tfxai``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # Of click or of Typer's copy of it, by the version.
            if type(error).__name__ != "NoSuchOption":
                raise
            wrong = str(getattr(error, "option_name", ""))
            known = self._known()
            meant = synonyms.closest_name(wrong.lstrip("-"), known)
            told = f"; perhaps {known[meant]}" if meant else f": it has {', '.join(self._own())}"
            raise UserError(f"{wrong}: {self.name} has no such option{told}") from error

    def _own(self) -> list[str]:
        return [option for p in self.params for option in p.opts if option.startswith("--")]

    def _known(self) -> dict[str, str]:
        """Give how options are written, and those of methods, by their names."""
        own = {option.lstrip("-"): option for option in self._own()}
        if "option" not in own:
            return own
        first = "" if "method" in own else "METHOD."
        of_methods = {
            name: f"--option {first}{name}=..."
            for function in METHODS.values()
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        return of_methods | own
