"""Figures of one load, from records that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deploy.goodput.point import Cost, is_sustained, median, point
from tests.deploy.goodput.made import a_point, made, steady


def test_only_a_200_in_time_is_good() -> None:
    """Late answers, refusals and failures are told apart."""
    latency = np.array([0.1, 0.3, 0.001, 0.25, 0.002])
    status = np.array([200, 200, 503, 504, 429], np.int16)
    found = point(made(np.arange(5.0), latency, status), 0.25, 5.0, Cost(0.5, {"g": 1}, {"g": 3}, {"g": 2}))
    assert (found.offered, found.goodput, found.refused) == (1.0, 0.2, 0.4)
    assert found.admitted_p99 == pytest.approx(0.3)
    assert found.refused_p99 == pytest.approx(0.002)
    assert found.resident == {"g": (1, 3, 2)}


def test_without_refusals_their_time_is_not_a_number() -> None:
    """Nothing is made up for what did not happen."""
    cost = Cost(0.1, {}, {}, {})
    assert math.isnan(point(steady(10, 1), 2.0, 1.0, cost).refused_p99)


def test_a_steady_load_is_sustained() -> None:
    """All answered, quick, and no slower at the end than before."""
    assert is_sustained(steady(100, 4), 2.0)


@pytest.mark.parametrize(
    ("latency", "refused"),
    [(np.full(400, 1.2), 0), (np.linspace(0.02, 0.5, 400), 0), (np.full(400, 0.02), 4)],
    ids=["slower than half the deadline", "a queue that grows", "one in a hundred refused"],
)
def test_a_load_that_is_too_high_is_not(latency: np.ndarray, refused: int) -> None:
    """Each sign of too much load is seen by itself."""
    status = np.full(400, 200, np.int16)
    status[:refused] = 503
    assert not is_sustained(made(np.arange(400) / 100, latency, status), 2.0)


def test_no_requests_prove_nothing() -> None:
    """A step in which nothing was due is no load that was borne."""
    empty = np.array([])
    assert not is_sustained(made(empty, empty, empty.astype(np.int16)), 2.0)


def test_the_median_is_one_of_the_points() -> None:
    """Figures of one run are never mixed with another's."""
    points = [a_point(100, goodput) for goodput in (90.0, 70.0, 80.0)]
    assert median(points) is points[2]
