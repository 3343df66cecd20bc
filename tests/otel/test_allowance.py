"""So many a second."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from otel import allowance
from otel.allowance import Allowance


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Have allowances read a clock that the test moves."""
    clock = Clock()
    monkeypatch.setattr(allowance, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def test_a_burst_gets_one_second_of_it(clock: Clock) -> None:
    """At one time as many pass as in a second; the others are counted until reset."""
    allowed = Allowance(3.0)
    assert [allowed.take() for _ in range(5)] == [True, True, True, False, False]
    assert (allowed.left_out, allowed.reset(), allowed.left_out) == (2, 2, 0)


@pytest.mark.parametrize("per_second", [0.5, 1.0, 20.0, 333.0])
def test_in_the_long_run_it_is_the_rate(clock: Clock, per_second: float) -> None:
    """Asked far more often than that, it lets the rate through, and never much more than saved for a second."""
    allowed = Allowance(per_second)
    passed = 0
    for _ in range(10_000):
        clock.now += 0.002
        passed += allowed.take()
    assert per_second * 20 - 1 <= passed <= per_second * 21 + 1
    assert passed + allowed.left_out == 10_000


def test_an_idle_hour_saves_no_more_than_a_second(clock: Clock) -> None:
    """What is not used does not add up."""
    allowed = Allowance(2.0)
    clock.now += 3600
    assert sum(allowed.take() for _ in range(10)) == 2


def test_less_than_one_a_second_still_lets_one_pass_in_time(clock: Clock) -> None:
    """One in four seconds is one in four seconds, not never."""
    allowed = Allowance(0.25)
    assert not allowed.take()
    clock.now += 3.1
    assert allowed.take()
    assert not allowed.take()


def test_none_is_none(clock: Clock) -> None:
    """An allowance of 0 lets nothing pass, ever."""
    allowed = Allowance(0.0)
    clock.now += 1e6
    assert not allowed.take()
