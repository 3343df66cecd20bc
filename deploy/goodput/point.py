"""One measured load: what was offered, what of it was good, what the rest cost."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from deploy.load.records import Records, percentile

REFUSED = (503, 429)
SUSTAINED_SHARE = 0.999
MOST_DRIFT, DRIFT_SECONDS = 2.0, 0.02
"""A queue that grows shows as latency that grows: later requests wait more than twice as long, and 20 ms more."""


@dataclass(frozen=True)
class Cost:
    """What the serving processes used while a load was measured: processor seconds, resident bytes by group."""

    processor_seconds: float
    before: Mapping[str, int]
    most: Mapping[str, int]
    after: Mapping[str, int]


class Point(msgspec.Struct, frozen=True):
    """Figures of one load. Rates per second, times in seconds, sizes in bytes.

    Good is a 200 within the deadline; refused is a 503 or 429; admitted is whatever was not refused, also what failed
    later. `resident` has, for each group of processes, before, at most, and after.
    """

    offered: float
    goodput: float
    refused: float
    admitted_p50: float
    admitted_p99: float
    refused_p99: float
    sent_p99: float
    attempts: float
    processor_seconds: float
    seconds: float
    statuses: dict[str, int]
    resident: dict[str, tuple[int, int, int]]


def point(records: Records, deadline: float, seconds: float, cost: Cost) -> Point:
    """Return the figures of the requests that were due in a stretch of that many seconds."""
    refused = np.isin(records.status, REFUSED)
    admitted = records.latency[~refused]
    return Point(
        offered=len(records) / seconds,
        goodput=good(records, deadline) / seconds,
        refused=float(refused.sum()) / seconds,
        admitted_p50=percentile(admitted, 50),
        admitted_p99=percentile(admitted, 99),
        refused_p99=percentile(records.latency[refused], 99),
        sent_p99=percentile((records.sent - records.due)[~np.isnan(records.sent)], 99),
        attempts=float(records.attempts.sum()) / seconds,
        processor_seconds=cost.processor_seconds,
        seconds=seconds,
        statuses=records.statuses(),
        resident={name: (cost.before[name], cost.most[name], cost.after[name]) for name in cost.before},
    )


def good(records: Records, deadline: float) -> int:
    """Return how many were answered 200 within the deadline, in seconds from when they were due."""
    return int(((records.status == 200) & (records.latency <= deadline)).sum())  # noqa: PLR2004  # HTTP's OK


def is_sustained(records: Records, deadline: float) -> bool:
    """Tell whether the load can be borne for good: all answered, in half the deadline, and no queue that grows."""
    if len(records) == 0 or good(records, deadline) < SUSTAINED_SHARE * len(records):
        return False
    quarter = max(1, len(records) // 4)
    early, late = (
        float(np.median(part)) for part in (records.latency[quarter : 2 * quarter], records.latency[-quarter:])
    )
    return percentile(records.latency, 99) <= deadline / 2 and late <= MOST_DRIFT * early + DRIFT_SECONDS


def median(points: Sequence[Point]) -> Point:
    """Return the point whose goodput is the median; of an even number the lower one in the middle."""
    middle = statistics.median_low(found.goodput for found in points)
    return next(found for found in points if found.goodput == middle)
