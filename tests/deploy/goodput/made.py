"""Records and points that tests make up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deploy.goodput.point import Point
from deploy.load.records import Records

SIZES = {"gateways": (100_000_000, 110_000_000, 105_000_000)}


def made(due: NDArray[np.float64], latency: NDArray[np.float64], status: NDArray[np.int16]) -> Records:
    """Return records of requests that left when they were due."""
    ones = np.ones(len(due), np.uint8)
    return Records(due, due, due + latency, status, ones * 0, ones, status == 200)


def steady(rate: float, seconds: float, latency: float = 0.02) -> Records:
    """Return that many requests per second, all answered 200 after the same time."""
    due = np.arange(0, seconds, 1 / rate)
    return made(due, np.full(len(due), latency), np.full(len(due), 200, np.int16))


def a_point(offered: float, goodput: float, **changes: object) -> Point:
    """Return a point with quick, cheap refusals of everything that is not good."""
    figures = {
        "offered": offered,
        "goodput": goodput,
        "refused": offered - goodput,
        "admitted_p50": 0.05,
        "admitted_p99": 0.2,
        "refused_p99": 0.002,
        "sent_p99": 0.001,
        "attempts": offered,
        "processor_seconds": (goodput * 500 + (offered - goodput) * 20) / 1e6,
        "seconds": 1.0,
        "statuses": {},
        "resident": SIZES,
    }
    return Point(**{**figures, **changes})  # type: ignore[arg-type]  # a test's own changes
