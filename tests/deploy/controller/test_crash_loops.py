"""Crash loops are seen and not repeated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from deploy.controller.crash_loops import ENOUGH, CrashLoops
from otel.lives import Exit

START = datetime(2026, 11, 24, tzinfo=UTC)


def rates(seconds: list[float], *, asked: bool = False) -> list[int | None]:
    """Return what is said after each exit of one program at these times."""
    loops = CrashLoops()
    times = [(START + timedelta(seconds=second)).isoformat() for second in seconds]
    return [loops.note(Exit(at=at, process="inference-0", asked=asked)) for at in times]


def test_a_loop_is_said_with_its_rate_once_a_minute() -> None:
    """An exit every two seconds is said at the third, and then with the rate of the minute behind it."""
    said = [(at, rate) for at, rate in zip(range(0, 70, 2), rates([*range(0, 70, 2)]), strict=True) if rate]
    assert said == [(4, ENOUGH), (64, 31)]


def test_rare_exits_and_stops_are_no_loop() -> None:
    """One crash in half a minute is none, and stops by a person are none at any rate."""
    assert rates([0, 31, 62, 93]) == [None] * 4
    assert rates([0, 1, 2, 3], asked=True) == [None] * 4
