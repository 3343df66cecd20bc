"""What a fault did is judged by what clients saw."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deploy.chaos.verdict import Observation, judge
from deploy.load.records import CLOSED, Records

OVER = 1000.0


def records(*requests: tuple[float, float, int], wanted: int = 200) -> Records:
    """Return requests as (sent, ended, status), in seconds from the last blow."""
    sent, ended, statuses = (np.array(column) for column in zip(*requests, strict=True))
    count = len(requests)
    ones = np.ones(count, np.uint8)
    status = statuses.astype(np.int16)
    return Records(sent + OVER, sent + OVER, ended + OVER, status, ones * 0, ones, status == wanted)


def seen(
    found: Records,
    *,
    back: float = 0.0,
    load: float = 0.0,
    kills: tuple[float, ...] = (),
    marked: Records | None = None,
) -> Observation:
    """Return an observation; `back` and `kills` in seconds from the last blow."""
    moments = tuple(OVER + kill for kill in kills)
    return Observation(OVER - 5, OVER, OVER + back, load, moments, found, marked)


GOOD = (-1.0, -0.99, 200), (0.5, 0.52, 200)


def test_nothing_wrong_is_nothing_wrong() -> None:
    """Good answers and a quick return leave nothing to say."""
    outcome = judge("f", "d", seen(records(*GOOD), back=0.9))
    assert outcome.wrong == ()
    assert (outcome.requests, outcome.failed) == (2, 0)
    assert outcome.recovery == pytest.approx(0.9)
    assert outcome.worst == pytest.approx(0.02)


@pytest.mark.parametrize("status", [503, 504, CLOSED])
def test_any_failure_counts(status: int) -> None:
    """Refusals, missed deadlines and broken connections are failures when nothing excuses them."""
    outcome = judge("f", "d", seen(records(*GOOD, (0.2, 0.4, status))))
    assert outcome.failed == 1
    assert outcome.wrong == ("1 failed",)
    assert outcome.recovery == pytest.approx(0.4)


def test_only_what_was_in_flight_in_a_killed_gateway_is_excused() -> None:
    """A connection that breaks at the kill is excused; one that breaks later, or is answered 503, is not."""
    found = records(*GOOD, (-0.3, 0.01, CLOSED), (-0.3, 0.01, 503), (0.3, 0.4, CLOSED), (-0.3, 1.0, CLOSED))
    outcome = judge("f", "d", seen(found, kills=(0.0,)))
    assert outcome.lost == 1
    assert outcome.failures == {"503": 1, "closed": 2}
    assert judge("f", "d", seen(found)).lost == 0


def test_a_system_that_stays_away_is_wrong_without_any_failure() -> None:
    """Full capacity belongs to recovery."""
    assert judge("f", "d", seen(records(*GOOD), back=math.inf)).wrong == ("it did not recover",)


def test_start_and_load_are_not_held_against_recovery() -> None:
    """A second is allowed beside what the process itself takes to serve."""
    assert judge("f", "d", seen(records(*GOOD), back=2.9, load=2.0)).wrong == ()
    (wrong,) = judge("f", "d", seen(records(*GOOD), back=3.1, load=2.0)).wrong
    assert wrong == "recovery took 3.1 s, of which 2.0 s were start and load"


def test_a_marked_request_must_be_answered_500() -> None:
    """What kills workers is answered 500, nothing else."""
    marked = records((-1, 0, 500), (-0.5, 0, 503), wanted=500)
    outcome = judge("f", "d", seen(records(*GOOD), marked=marked))
    assert outcome.requests == 4
    assert outcome.marked == {"503": 1, "500": 1}
    assert outcome.failures == {"fatal 503": 1}
