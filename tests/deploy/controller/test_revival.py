"""When a program that was given up is started again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor.states import ProcessStates

from deploy.controller.revival import Backoff, Observation, step
from inference_core.settings import Controller

SETTINGS = Controller(longest_backoff=8.0, stable_after=60.0)
FATAL = Observation(ProcessStates.FATAL)


def pauses_until(now: float, backoff: Backoff | None = None) -> list[float]:
    """Return the pauses before each start of a program that is FATAL whenever it is looked at, ten times a second."""
    found, since, ticks = [], 0.0, 0
    while (at := ticks / 10) <= now:
        decision = step(backoff, FATAL, at, SETTINGS)
        backoff, ticks = decision.backoff, ticks + 1
        if decision.start:
            found.append(round(at - since, 3))
            since = at + 0.1  # the next look
    return found


def test_the_pause_doubles_up_to_the_longest() -> None:
    """A program that never starts is tried after 1, 2, 4 ... seconds and then at the longest pause."""
    assert pauses_until(33.0) == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_stable_run_forgives_the_past() -> None:
    """The pause begins at one second again after a minute of running, and not before."""
    after = Backoff(8.0)
    assert step(after, Observation(ProcessStates.RUNNING, running=59.9), 100.0, SETTINGS).backoff == after
    assert step(after, Observation(ProcessStates.RUNNING, running=60.0), 100.0, SETTINGS).backoff is None


@pytest.mark.parametrize("served", [True, False])
@given(now=st.floats(0, 1e6), delay=st.floats(1, 100))
def test_what_a_person_stopped_stays_stopped(served: bool, now: float, delay: float) -> None:  # noqa: FBT001  # parametrized
    """STOPPED is never started, whatever came before."""
    seen = Observation(ProcessStates.STOPPED, served=served)
    assert step(Backoff(delay, now - 1), seen, now, SETTINGS).start is False


@pytest.mark.parametrize("state", [ProcessStates.BACKOFF, ProcessStates.FATAL])
def test_a_run_that_was_lost_in_service_is_replaced_at_once(state: int) -> None:
    """A worker that had served does not wait for supervisord's pause."""
    assert step(None, Observation(state, served=True), 5.0, SETTINGS).start


def test_supervisords_own_pause_is_left_to_it() -> None:
    """A program that leaves at start goes through supervisord's retries first."""
    assert step(None, Observation(ProcessStates.BACKOFF), 5.0, SETTINGS).start is False


def test_a_machine_that_was_started_anew_does_not_wait_for_its_old_clock() -> None:
    """A due time from before a reboot, far in the future of the new clock, is cut to the pause."""
    decision = step(Backoff(2.0, 1e9), FATAL, 10.0, SETTINGS)
    assert decision.backoff == Backoff(2.0, 12.0)
