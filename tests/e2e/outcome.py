"""What came of a row of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What came of a row: what happened, a figure with its unit if there is one, and what was wrong."""

    happened: str
    figure: str = ""
    wrong: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Tell whether nothing was wrong."""
        return not self.wrong
