"""What `status` says about exits."""

from __future__ import annotations

from deploy.exits_report import SHOWN, exits_report
from otel.lives import Exit

KILLED = Exit(at="2026-11-24T05:46:12.345+00:00", process="inference-0", pid=7, uptime=12.34, signal="SIGKILL")
LEFT = Exit(at="2026-11-24T05:47:00.000+00:00", process="gateway-0", pid=8, uptime=1.0, code=3, reason="no port")
STOPPED = Exit(at="2026-11-24T05:48:00.000+00:00", process="jaeger", code=0, asked=True, expected=True)


def test_it_counts_restarts_and_shows_the_last_exits() -> None:
    """Restarts are counted by program, and each line has cause, uptime and reason."""
    lines = list(exits_report([KILLED, KILLED, LEFT, STOPPED], STOPPED.seconds + 60))
    assert lines[0].strip() == "Restarts that nobody asked for, in the last hour: gateway-0 1, inference-0 2"
    assert lines[3].endswith("inference-0 SIGKILL after 12.3 s")
    assert lines[4].endswith("gateway-0 exit status 3 after 1.0 s: no port")
    assert lines[5].endswith("jaeger stopped (exit status 0)")


def test_old_exits_are_not_counted_and_many_not_all_shown() -> None:
    """The count is of one hour, the list is short."""
    lines = list(exits_report([KILLED] * 20, KILLED.seconds + 3601))
    assert lines[0].strip() == "Restarts that nobody asked for, in the last hour: none"
    assert len(lines) == 2 + SHOWN


def test_without_exits_it_says_nothing() -> None:
    """A system that never lost a program has no such paragraph."""
    assert list(exits_report([], 0.0)) == []
