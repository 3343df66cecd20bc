"""Tables for people: Markdown that is aligned, so that it reads the same in a terminal and in a document."""

from __future__ import annotations

import math
from collections.abc import Sequence

Row = Sequence[str]


def table(head: Row, rows: Sequence[Row]) -> str:
    """Return a Markdown table with its columns aligned, ending with a new line."""
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "".join(aligned(line, widths) + "\n" for line in lines)


def aligned(row: Row, widths: Sequence[int]) -> str:
    """Return one line of such a table."""
    return f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"


def milliseconds(seconds: float) -> str:
    """Return a time in ms with a tenth where that says something, and `-` for NaN."""
    if math.isnan(seconds):
        return "-"
    return f"{seconds * 1000:.1f}" if seconds < 1 else f"{seconds * 1000:.0f}"
