"""Whether quick requests waited behind slow ones, from rounds that are known."""

from __future__ import annotations

import numpy as np

from deploy.headofline import Round, in_flight, verdict
from tests.deploy.goodput.made import made, steady

GOOD = Round((0.003, 0.01), (0.004, 0.015), 200.0, {"200": 1000})
SLOW = Round((0.003, 0.01), (0.004, 0.025), 200.0, {"200": 1000})


def test_the_median_round_decides() -> None:
    """One slow round of three is noise, two are not."""
    assert verdict([GOOD, SLOW, GOOD]) == []
    assert verdict([SLOW, SLOW, GOOD]) == ["p99 is 2.50 times what it is alone, not 2"]


def test_failures_and_missing_slow_requests_are_seen() -> None:
    """A quick p99 proves nothing where quick requests failed or the slow ones were not there."""
    failing = Round(GOOD.alone, GOOD.beside, 200.0, {"200": 990, "503": 10})
    lonely = Round(GOOD.alone, GOOD.beside, 20.0, {"200": 1000})
    assert verdict([failing]) == ["10 quick requests failed"]
    assert verdict([lonely]) == ["only 20 slow requests waited"]


def test_requests_in_flight_are_counted_when_the_others_leave() -> None:
    """Fifty slow requests that last for the whole time are fifty, at every moment."""
    slow = made(np.zeros(50), np.full(50, 100.0), np.full(50, 200, np.int16))
    beside = steady(10, 5)
    assert in_flight(slow, beside.where(beside.due > 0)) == 50
