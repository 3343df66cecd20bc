"""The recorded exits, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from otel.lives import Exit, restarts

HOUR = 3600.0
SHOWN = 5


def exits_report(exits: Sequence[Exit], now: float) -> Iterator[str]:
    """Yield the restarts of the last hour by program and the last exits; nothing where none were recorded.

    `now` is in seconds since the epoch; times are shown in the machine's time zone.
    """
    if not exits:
        return
    counts = sorted(restarts(exits, now - HOUR).items())
    told = ", ".join(f"{process} {count}" for process, count in counts)
    yield f"\nRestarts that nobody asked for, in the last hour: {told or 'none'}"
    yield "Last exits (all of them: exits.jsonl in the run folder):"
    for exit_ in exits[-SHOWN:]:
        yield f"  {_line(exit_)}"


def _line(exit_: Exit) -> str:
    at = datetime.fromisoformat(exit_.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    uptime = "" if exit_.uptime is None else f" after {exit_.uptime:.1f} s"
    reason = f": {exit_.reason}" if exit_.reason else ""
    return f"{at} {exit_.process} {_cause(exit_)}{uptime}{reason}"


def _cause(exit_: Exit) -> str:
    how = exit_.signal or ("lost" if exit_.code is None else f"exit status {exit_.code}")
    return f"stopped ({how})" if exit_.asked else how
