"""What a queue says about its load."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.queueing import RECENT_DURATIONS, REFRESH_EVERY, DrainRate, Durations, StandingQueue


def test_nothing_measured_means_no_wait() -> None:
    """Before the first measurement nobody is refused for a wait."""
    rate = DrainRate()
    rate.drained(5, 1.0, waiting=True)
    assert (rate.per_second, rate.seconds_for(1000)) == (0, 0)


@given(st.integers(1, 50), st.floats(0.001, 1))
def test_a_steady_rate_is_found(rows: int, seconds: float) -> None:
    """Batches of so many rows each so many seconds give that rate, and the wait that follows from it."""
    rate = DrainRate()
    for number in range(20):
        rate.drained(rows, 1 + number * seconds, waiting=True)
    assert rate.per_second == pytest.approx(rows / seconds)
    assert rate.seconds_for(2 * rows) == pytest.approx(2 * seconds)


def test_a_change_shows_within_seconds() -> None:
    """Half the consumers lost: after two seconds the rate is nearer to the new one by far."""
    rate = DrainRate()
    for number in range(100):
        rate.drained(10, number * 0.1, waiting=True)
    for number in range(20):
        rate.drained(10, 10.1 + number * 0.2, waiting=True)
    assert rate.per_second == pytest.approx(50, rel=0.1)


def test_time_without_a_queue_or_consumers_is_not_counted() -> None:
    """An idle hour, or one without consumers, does not look like a slow one."""
    rate = DrainRate()
    rate.drained(10, 0.0, waiting=True)
    rate.drained(10, 1.0, waiting=True)
    rate.drained(10, 1.1, waiting=False)
    rate.drained(10, 3600.0, waiting=True)
    rate.pause()
    rate.drained(10, 7200.0, waiting=True)
    assert rate.per_second == pytest.approx(10)


def observed(queue: StandingQueue, delays: list[float], step: float = 0.05) -> list[bool]:
    """Return whether the queue stands after each delay, seen every `step` seconds, for a target of 10 ms."""
    seen = []
    for number, delay in enumerate(delays):
        queue.observe(delay, 0.01, 0.1, 1 + number * step)
        seen.append(queue.stands)
    return seen


def test_a_burst_is_no_standing_queue() -> None:
    """One good delay within each interval is enough."""
    assert not any(observed(StandingQueue(), [0.02, 0.02, 0.005] * 10))


def test_a_queue_that_never_gets_short_stands() -> None:
    """Above the target for a whole interval: from then on it stands, until one delay is good again."""
    assert observed(StandingQueue(), [0.02, 0.03, 0.04, 0.05, 0.06, 0.005]) == [False, False, True, True, True, False]


def test_a_queue_that_refuses_goes_on_standing() -> None:
    """Its good delay comes from refusing: without that it would fill again. Soon after the last refusal it is over."""
    queue = StandingQueue()
    observed(queue, [0.02] * 4)
    for _ in range(10):
        queue.refused()
        queue.admitted()
    assert all(observed(queue, [0.005] * 2))
    queue.emptied(2.0)
    queue.resumed(0.1, 2.05)
    assert queue.stands
    assert not observed(queue, [0.005] * 20)[-1]


def test_a_queue_in_which_nobody_waited_begins_anew() -> None:
    """However much was refused before: what comes now may be a burst like any other."""
    queue = StandingQueue()
    observed(queue, [0.02] * 4)
    for _ in range(10):
        queue.refused()
    queue.emptied(2.0)
    queue.resumed(0.1, 2.2)
    assert not queue.stands


def test_few_refusals_keep_no_queue_standing() -> None:
    """A burst that meets a standing queue is no reason to go on once its delay is good."""
    queue = StandingQueue()
    observed(queue, [0.02] * 4)
    queue.refused()
    for _ in range(30):
        queue.admitted()
    assert observed(queue, [0.005]) == [False]


def test_an_empty_queue_does_not_stand() -> None:
    """What is cleared begins anew."""
    queue = StandingQueue()
    assert observed(queue, [0.02] * 4)[-1]
    queue.clear()
    assert observed(queue, [0.02, 0.02]) == [False, False]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=600))
def test_percentiles_follow_what_was_noted(seconds: list[float]) -> None:
    """Median and p99 lie within the last durations, and are of them."""
    durations = Durations()
    for duration in seconds:
        durations.add(duration)
    recent = seconds[-RECENT_DURATIONS - REFRESH_EVERY :]
    assert len(durations) == min(len(seconds), RECENT_DURATIONS)
    assert durations.median in recent
    assert durations.p99 in recent
    assert durations.median <= durations.p99


def test_the_first_durations_count_at_once() -> None:
    """One is the median of one, and a slow start is forgotten."""
    durations = Durations()
    durations.add(3.0)
    assert (durations.median, durations.p99) == (3.0, 3.0)
    for _ in range(RECENT_DURATIONS + REFRESH_EVERY):
        durations.add(0.1)
    assert durations.p99 == 0.1
