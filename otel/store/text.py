"""Found traces as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from otel.store.query import NANOSECONDS, Found

HEAD = ("started", "ms", "status", "model", "kept", "request id", "trace id")
NOTHING = "Nothing is stored that matches; a trace is there one to two seconds after its request.\n"


def found_text(found: Sequence[Found]) -> str:
    """Return one line for each found trace below a head; times in the machine's time zone."""
    return table(HEAD, [_cells(each) for each in found]) if found else NOTHING


def milliseconds(nanoseconds: float) -> str:
    """Return a duration in milliseconds with three significant places or so."""
    value = nanoseconds / 1e6
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"  # noqa: PLR2004


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows of texts in columns, the numbers at the right end of theirs."""
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "".join("  ".join(map(_padded, line, widths)).rstrip() + "\n" for line in lines)


def _padded(text: str, width: int) -> str:
    return text.rjust(width) if text[:1].isdigit() and len(text) < 9 else text.ljust(width)  # noqa: PLR2004


def _cells(found: Found) -> tuple[str, ...]:
    summary = found.summary
    started = datetime.fromtimestamp(summary.started / NANOSECONDS).astimezone()
    status = f"{summary.status} failed" if summary.failed else summary.status
    model = f"{summary.model} {summary.version}".strip()
    when = started.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return when, milliseconds(summary.duration), status, model, summary.kept, summary.request_id, found.trace_id
