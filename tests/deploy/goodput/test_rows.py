"""Verdicts, from points that are known: each can be passed and each can fail."""

from __future__ import annotations

import math

import numpy as np

from deploy.goodput.point import Point
from deploy.goodput.rows import Curve, admitted, plateau, refusals
from deploy.goodput.step import recovery_seconds
from tests.deploy.goodput.made import SIZES, a_point, made, steady


def curve(**changed: Point) -> Curve:
    """Return a curve that passes, but for the points that are given, such as x10=..."""
    points = {0.5: a_point(50, 50), 1.0: a_point(100, 99), 3.0: a_point(300, 98), 10.0: a_point(1000, 92)}
    return Curve(100.0, points | {float(name[1:]): found for name, found in changed.items()})


def test_a_plateau_passes() -> None:
    """Goodput near its peak at every load is as it must be, also where less than the peak was asked."""
    assert plateau(curve()).wrong == ()
    assert admitted(curve(), 2.0).wrong == ()
    assert refusals(curve()).wrong == ()


def test_falling_goodput_is_seen() -> None:
    """Up to three times the capacity 95 % must remain, at ten times 90 %."""
    assert plateau(curve(x3=a_point(300, 92))).wrong == ("93% of what can be reached at 3 x C, not 95%",)
    assert plateau(curve(x10=a_point(1000, 80))).wrong == ("81% of what can be reached at 10 x C, not 90%",)


def test_growing_memory_is_seen() -> None:
    """A queue without bound shows in the memory of its process."""
    grown = {"gateways": (SIZES["gateways"][0], 500_000_000, 500_000_000)}
    assert plateau(curve(x10=a_point(1000, 92, resident=grown))).wrong == ("memory grew by 381 MiB",)


def test_what_was_admitted_must_be_in_time() -> None:
    """One load whose p99 is beyond the deadline is enough."""
    assert admitted(curve(x10=a_point(1000, 92, admitted_p99=2.1)), 2.0).wrong
    assert admitted(curve(x10=a_point(1000, 0, admitted_p99=math.nan)), 2.0).wrong == ()


def test_slow_or_costly_refusals_are_seen() -> None:
    """A refusal takes at most 10 ms at p99 and a tenth of a served request's processor time."""
    assert refusals(curve(x10=a_point(1000, 92, refused_p99=0.02))).wrong == ("p99 20.0 ms to refuse",)
    (wrong,) = refusals(curve(x10=a_point(1000, 92, processor_seconds=0.2))).wrong
    assert wrong.startswith("a refusal costs")
    all_served = Curve(100.0, {1.0: a_point(100, 100), 10.0: a_point(1000, 1000)})
    assert refusals(all_served).wrong == ("nothing was refused",)


def test_recovery_is_the_last_bad_quarter_second() -> None:
    """Good before and long after do not hide a bad stretch after the fall."""
    calm = steady(100, 10)
    bad = (calm.due >= 5) & (calm.due < 6.2)
    status = np.where(bad, 504, 200).astype(np.int16)
    records = made(calm.due, calm.latency, status)
    assert recovery_seconds(records, 2.0, 5.0) == 1.25
    assert recovery_seconds(records, 2.0, 7.0) == 0.0


def test_what_never_recovers_is_infinite() -> None:
    """Bad to the end is not a recovery at the end."""
    calm = steady(100, 10)
    status = np.where(calm.due >= 5, 503, 200).astype(np.int16)
    assert recovery_seconds(made(calm.due, calm.latency, status), 2.0, 5.0) == math.inf
    assert recovery_seconds(calm.where(calm.due < 0), 2.0, 5.0) == math.inf
