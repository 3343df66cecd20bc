"""Why a program ended, in the words of its own log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

TAIL_BYTES = 16 * 1024
SLACK_SECONDS = 1.0
LONGEST = 500


def reason_of(log: Path, since: float, until: float) -> str | None:
    """Return the reason that the last line of a run gives, None where it gives none.

    `since` and `until` are the run's start and end in seconds since the epoch; lines of other runs do not count.
    A last line that is no JSON, such as the end of a traceback, is the reason itself while the log is no newer.
    """
    try:
        written, tail = log.stat().st_mtime, _tail(log)
    except OSError:
        return None
    for line in reversed(tail):
        fields = _fields(line)
        if fields is None:
            return line[:LONGEST] if _is_within(written, since, until) else None
        at = _seconds(fields)
        if at <= until + SLACK_SECONDS:
            return next(_reasons(fields), None) if at >= since - SLACK_SECONDS else None
    return None


def _tail(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return [line for line in text.splitlines() if line.strip()]


def _fields(line: str) -> dict[str, Any] | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _seconds(fields: dict[str, Any]) -> float:
    try:
        return datetime.fromisoformat(fields["timestamp"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return 0.0


def _is_within(at: float, since: float, until: float) -> bool:
    return since - SLACK_SECONDS <= at <= until + SLACK_SECONDS


def _reasons(fields: dict[str, Any]) -> Iterator[str]:
    for key in ("reason", "exception"):
        if isinstance(text := fields.get(key), str) and text:
            yield text.strip().splitlines()[-1][:LONGEST] if key == "exception" else text[:LONGEST]
