"""So many a second, evenly refilled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel.allowance import Allowance


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a clock that a test moves."""
    now = [100.0]
    monkeypatch.setattr("otel.allowance.time.monotonic", lambda: now[0])
    return now


def taken(allowance: Allowance, tries: int) -> int:
    """Return how many of so many tries pass."""
    return sum(allowance.take() for _ in range(tries))


def test_a_burst_gets_one_seconds_worth(clock: list[float]) -> None:
    """At once as many as in a second, however long nothing was asked for."""
    allowance = Allowance(20)
    assert taken(allowance, 100) == 20
    clock[0] += 0.5
    assert taken(allowance, 100) == 10
    clock[0] += 1000
    assert taken(allowance, 100) == 20


def test_a_machine_that_has_just_started_has_its_burst(clock: list[float]) -> None:
    """The clock may begin at nothing."""
    clock[0] = 0.0
    assert taken(Allowance(20), 100) == 20


def test_what_was_left_out_is_counted_once(clock: list[float]) -> None:
    """`reset` tells how many since the last time."""
    allowance = Allowance(5)
    taken(allowance, 12)
    assert (allowance.reset(), allowance.reset()) == (7, 0)


@pytest.mark.parametrize(("per_second", "passed"), [(0.0, 0), (0.1, 10), (0.5, 50)])
def test_less_than_one_a_second_is_possible(clock: list[float], per_second: float, passed: int) -> None:
    """A small rate lets one through now and then, none at all means none."""
    allowance = Allowance(per_second)
    count = 0
    for _ in range(100):
        clock[0] += 1
        count += taken(allowance, 3)
    assert abs(count - passed) <= 1


@given(st.lists(st.floats(0, 0.3), max_size=200))
def test_never_more_than_the_rate(pauses: list[float]) -> None:
    """Over any time no more than the rate allows for it, plus one second's worth."""
    now = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("otel.allowance.time.monotonic", lambda: now[0])
        allowance, count = Allowance(7), 0
        for pause in pauses:
            now[0] += pause
            count += allowance.take()
    assert count <= 7 * now[0] + 7 + 1e-6
    assert count + allowance.left_out == len(pauses)
