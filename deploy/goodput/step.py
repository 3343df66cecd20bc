"""How long a disturbance outlives its cause."""

from __future__ import annotations

import math

from deploy.goodput.point import good
from deploy.load.records import Records

BIN_SECONDS = 0.25
GOOD_SHARE = 0.95


def recovery_seconds(records: Records, deadline: float, since: float) -> float:
    """Return how long after `since`, on the monotonic clock, requests still fared badly, in steps of a quarter second.

    Badly is a quarter in which fewer than 95 % of the requests that were due were answered 200 within the deadline;
    infinity means that this was so to the end of the records, and also that there are none.
    """
    last = since
    start = since
    while len(records) and start <= records.due[-1]:
        due = records.between(start, start + BIN_SECONDS)
        start += BIN_SECONDS
        if len(due) and good(due, deadline) < GOOD_SHARE * len(due):
            last = start
    return math.inf if last == start else last - since
