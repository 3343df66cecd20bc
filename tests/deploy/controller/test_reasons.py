"""The reason of an exit is the last word of that run and of no other."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.controller.reasons import LONGEST, TAIL_BYTES, reason_of

SINCE = 1_795_500_000.0
UNTIL = SINCE + 10


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Name a program's log."""
    return tmp_path / "inference-0.log"


def line(at: float, **fields: str) -> str:
    """Return a line as otel.logs writes it."""
    return json.dumps({**fields, "timestamp": datetime.fromtimestamp(at, UTC).isoformat()})


def write(log: Path, *lines: str, written: float = UNTIL) -> None:
    """Write the log with a time of change."""
    log.write_text("".join(f"{text}\n" for text in lines))
    os.utime(log, (written, written))


def test_the_last_line_of_the_run_gives_the_reason(log: Path) -> None:
    """Lines of the next run behind it do not hide it."""
    write(log, line(SINCE + 1, event="x"), line(UNTIL, reason="no model"), line(UNTIL + 5, event="serving"))
    assert reason_of(log, SINCE, UNTIL) == "no model"


def test_a_reason_of_an_earlier_run_is_not_this_ones(log: Path) -> None:
    """A run that said nothing has no reason, whatever stands in the log before it."""
    write(log, line(SINCE - 60, reason="old"), written=SINCE - 60)
    assert reason_of(log, SINCE, UNTIL) is None


def test_a_run_that_ended_without_a_reason_has_none(log: Path) -> None:
    """A killed worker's last line is about a request, and no reason."""
    write(log, line(SINCE + 1, reason="early trouble"), line(UNTIL, event="call"))
    assert reason_of(log, SINCE, UNTIL) is None


def test_the_end_of_a_traceback_is_the_reason(log: Path) -> None:
    """Also when it is long, and only while the log was not written to by a later run."""
    write(log, "Traceback (most recent call last):", "ImportError: " + "x" * 2 * TAIL_BYTES)
    assert (reason_of(log, SINCE, UNTIL) or "")[-LONGEST:] == "x" * LONGEST
    write(log, "ImportError: y", written=SINCE - 60)
    assert reason_of(log, SINCE, UNTIL) is None


def test_a_log_that_is_missing_or_odd_gives_none(log: Path) -> None:
    """Nothing in a log can make the controller fail."""
    assert reason_of(log, SINCE, UNTIL) is None
    write(log, "[1, 2]", "", written=0)
    assert reason_of(log, SINCE, UNTIL) is None
    write(log, '{"timestamp": 5, "reason": "x"}')
    assert reason_of(log, SINCE, UNTIL) is None
