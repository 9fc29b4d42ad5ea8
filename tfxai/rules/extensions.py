"""What a rule treats beyond its paper: noted while it is traced, for the record."""

from __future__ import annotations

from tfxai.rules.rule import Replacement
from tfxai.rules.steps import Step


class Extensions:
    """The extended steps of a model, by what the rule does with them."""

    def __init__(self) -> None:
        self._steps: dict[str, set[str]] = {}

    def note(self, step: Step, replacement: Replacement | None) -> None:
        """Note a step if its replacement goes beyond the rule's paper."""
        if replacement is not None and replacement.extended:
            self._steps.setdefault(replacement.description, set()).add(step.title)

    def include(self, other: Extensions) -> None:
        """Note the steps that another one has noted."""
        for description, names in other._steps.items():
            self._steps.setdefault(description, set()).update(names)

    def as_settings(self) -> dict[str, list[str]]:
        """Give what is done -> the names of the operations with which it is done."""
        return {description: sorted(names) for description, names in self._steps.items()}
