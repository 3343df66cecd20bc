"""What a fault did, from what the clients saw and what the probes saw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from deploy.load.records import CLOSED, CUT, Records, percentile

IN_FLIGHT_SECONDS = 0.1
"""Around a kill: a request that left just after it went to a socket whose end had not been told yet."""
RECOVERY_SECONDS = 1.0
"""Beside the time that the programs themselves take to start and to load models."""


@dataclass(frozen=True)
class Observation:
    """One fault as it was seen; moments on the monotonic clock.

    `back` is when everything was there again, infinity if it never was; `load_seconds` is what the process that came
    last took from its start to serving, 0 if none was started; `marked` are the requests that were to be answered 500.
    """

    began: float
    over: float
    back: float
    load_seconds: float
    gateway_kills: tuple[float, ...]
    records: Records
    marked: Records | None


class Outcome(msgspec.Struct, frozen=True):
    """One row of the table. Times in seconds; `recovery` counts from the last blow, and is null if it never came.

    `failed` are failures that nothing excuses, `failures` what they were; `lost` were in flight in a killed gateway
    member; `marked` are the statuses of the requests that were to be answered 500.
    """

    fault: str
    done: str
    requests: int
    failed: int
    failures: dict[str, int]
    lost: int
    marked: dict[str, int]
    p99: float
    worst: float
    recovery: float
    load: float
    wrong: tuple[str, ...]
    note: str = ""


def judge(fault: str, done: str, seen: Observation) -> Outcome:
    """Return what a fault did, and what of it must not be."""
    records = seen.records
    lost = in_flight(records, seen.gateway_kills)
    bad = records.where(~records.expected & ~lost)
    marked = seen.marked
    bad_marked = {f"fatal {name}": n for name, n in marked.where(~marked.expected).statuses().items()} if marked else {}
    failures = bad.statuses() | bad_marked
    recovery = max(_since(seen.over, seen.back), _since(seen.over, _last_end(bad)))
    good = records.latency[records.expected]
    failed = sum(failures.values())
    return Outcome(
        fault=fault,
        done=done,
        requests=len(records) + (len(marked) if marked else 0),
        failed=failed,
        failures=failures,
        lost=int(lost.sum()),
        marked=marked.statuses() if marked else {},
        p99=percentile(good, 99),
        worst=percentile(good, 100),
        recovery=recovery,
        load=seen.load_seconds,
        wrong=_wrong(failed, recovery, seen.load_seconds),
    )


def in_flight(records: Records, kills: Sequence[float]) -> NDArray[np.bool_]:
    """Return which requests had their transport broken by one of those kills of a gateway member."""
    lost = np.zeros(len(records), np.bool_)
    broken = np.isin(records.status, (CLOSED, CUT))
    for kill in kills:
        before = records.sent <= kill + IN_FLIGHT_SECONDS
        at_once = (records.ended >= kill - IN_FLIGHT_SECONDS) & (records.ended <= kill + 2 * IN_FLIGHT_SECONDS)
        lost |= broken & before & at_once
    return lost


def _wrong(failed: int, recovery: float, load: float) -> tuple[str, ...]:
    wrong = (f"{failed} failed",) if failed else ()
    if math.isinf(recovery):
        return (*wrong, "it did not recover")
    if recovery > RECOVERY_SECONDS + load:
        return (*wrong, f"recovery took {recovery:.1f} s, of which {load:.1f} s were start and load")
    return wrong


def _since(moment: float, later: float) -> float:
    return max(0.0, later - moment)


def _last_end(records: Records) -> float:
    return float(records.ended.max()) if len(records) else -math.inf
