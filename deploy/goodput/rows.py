"""Rows K01 to K08: what is offered, and what must come of it. Pure but for the bench that they ask."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from deploy.goodput.bench import Bench
from deploy.goodput.point import Point, good, median
from deploy.goodput.step import recovery_seconds
from deploy.load.plan import Stage
from deploy.table import milliseconds
from deploy.target import signal_if_there
from otel import processes

SOMETHING = 1e-9  # instead of a division by nothing
NEAR, FAR = 3.0, 10.0
NEAR_SHARE, FAR_SHARE = 0.95, 0.90
REFUSAL_SECONDS = 0.010
REFUSAL_COST = 0.10
MEMORY_BYTES = 256 * 1024 * 1024
RECOVERY_SECONDS = 2.0
BELOW, SPIKE = 0.8, 10.0
RETRIES, RETRYING = 3, 1.2
CLASS_SHARE, INTERACTIVE_SUCCESS = 0.7, 0.99
ONE_WORKER = 0.5
COLLAPSE_OFFERED, COLLAPSE_SHARE = 2.0, 0.60


class Row(msgspec.Struct, frozen=True):
    """One verdict: what was done, what came of it, and what of that must not be."""

    identity: str
    done: str
    happened: str
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """Points by their multiple of the capacity, in requests per second."""

    capacity: float
    points: Mapping[float, Point]

    @property
    def peak(self) -> float:
        """The highest goodput of all points."""
        return max(found.goodput for found in self.points.values())

    def share(self, multiple: float) -> float:
        """Return the goodput there as a share of what can be reached: the peak, or less where less was asked."""
        found = self.points[multiple]
        return found.goodput / max(min(self.peak, found.offered), SOMETHING)


def curve(bench: Bench, capacity: float, multiples: Sequence[float], repeats: int) -> Curve:
    """Measure each multiple of the capacity several times, and keep the medians."""
    points = {}
    for multiple in multiples:
        found = []
        for repeat in range(repeats):
            bench.say(f"... {multiple:g} x C = {multiple * capacity:.0f}/s, {repeat + 1} of {repeats}")
            found.append(bench.with_seed(bench.seed + repeat).measure(multiple * capacity))
        points[multiple] = median(found)
    return Curve(capacity, points)


def plateau(found: Curve) -> Row:
    """K01: goodput stays near its peak, and memory stays bounded."""
    wrong = []
    for multiple in found.points:
        least = NEAR_SHARE if multiple <= NEAR else FAR_SHARE
        if found.share(multiple) < least:
            wrong.append(f"{found.share(multiple):.0%} of what can be reached at {multiple:g} x C, not {least:.0%}")
    grown = _grown(found)
    if grown > MEMORY_BYTES:
        wrong.append(f"memory grew by {grown / 2**20:.0f} MiB")
    lowest = min(found.points, key=found.share)
    happened = (
        f"peak {found.peak:.0f}/s; least {found.share(lowest):.0%} at {lowest:g} x C; memory + {grown / 2**20:.0f} MiB"
    )
    return Row("K01", f"{', '.join(f'{m:g}' for m in found.points)} x C", happened, tuple(wrong))


def _grown(found: Curve) -> int:
    """Return the bytes by which a group of processes was larger at most than before the first load."""
    first = next(iter(found.points.values())).resident
    return max(most - first[name][0] for p in found.points.values() for name, (_, most, _) in p.resident.items())


def admitted(found: Curve, deadline: float) -> Row:
    """K02: what is admitted is answered in time."""
    slowest = max(found.points, key=lambda multiple: found.points[multiple].admitted_p99)
    worst = found.points[slowest].admitted_p99
    happened = f"p99 at most {milliseconds(worst)} ms, at {slowest:g} x C; the deadline is {milliseconds(deadline)} ms"
    wrong = () if worst <= deadline else ("some of what was admitted was late or failed",)
    return Row("K02", "the same, what was admitted", happened, wrong)


def refusals(found: Curve) -> Row:
    """K03: a refusal is quick and cheap."""
    loaded = {multiple: p for multiple, p in found.points.items() if p.refused > 0}
    if not loaded:
        return Row("K03", "the same, what was refused", "nothing was refused", ("nothing was refused",))
    slowest = max(p.refused_p99 for p in loaded.values())
    share = _refusal_cost(found, loaded[max(loaded)])
    wrong = [f"p99 {milliseconds(slowest)} ms to refuse"] if slowest > REFUSAL_SECONDS else []
    wrong += [f"a refusal costs {share:.0%} of a served request"] if share > REFUSAL_COST else []
    happened = f"p99 {milliseconds(slowest)} ms; a refusal costs {share:.1%} of the processor time of a served request"
    return Row("K03", "the same, what was refused", happened, tuple(wrong))


def _refusal_cost(found: Curve, loaded: Point) -> float:
    calm = found.points[min(found.points, key=lambda multiple: abs(multiple - 1))]
    for_served = calm.processor_seconds / (calm.goodput * calm.seconds)
    for_refused = loaded.processor_seconds - for_served * loaded.goodput * loaded.seconds
    return max(0.0, for_refused / (loaded.refused * loaded.seconds) / for_served)


def spike(bench: Bench, capacity: float) -> Row:
    """K04: after a spike goodput is back within two seconds."""
    calm, high = bench.durations.calm, bench.durations.spike
    stages = (Stage(BELOW * capacity, calm), Stage(SPIKE * capacity, high), Stage(BELOW * capacity, calm))
    records = bench.records(bench.plan(*stages))
    fall = records.due[0] + calm + high
    took = recovery_seconds(records, bench.deadline, fall)
    inside = records.between(fall - high + 1, fall)
    goodput = good(inside, bench.deadline) / (high - 1)
    wrong = [f"{took:.1f} s until all was good again"] if took > RECOVERY_SECONDS else []
    wrong += [f"goodput {goodput:.0f}/s in the spike"] if goodput < FAR_SHARE * BELOW * capacity else []
    happened = f"goodput {goodput:.0f}/s from 1 s after the rise; all good again {took:.2f} s after the fall"
    return Row("K04", f"{BELOW:g} -> {SPIKE:g} -> {BELOW:g} x C", happened, tuple(wrong))


def retrying(bench: Bench, capacity: float, peak: float) -> Row:
    """K05: clients that repeat at once do no lasting harm."""
    found = bench.measure(RETRYING * capacity, retries=RETRIES)
    share = found.goodput / min(peak, found.offered)
    wrong = () if share >= FAR_SHARE else (f"goodput {share:.0%} of what can be reached",)
    happened = f"goodput {found.goodput:.0f}/s ({share:.0%}); {found.attempts / found.offered:.2f} attempts per request"
    return Row("K05", f"clients that retry {RETRIES} times at once, {RETRYING:g} x C", happened, wrong)


def classes(bench: Bench, capacity: float) -> Row:
    """K06: interactive requests come first, and batch requests get what is left."""
    kinds = (bench.kind("interactive"), bench.kind("batch", X_Priority="batch"))
    rate, seconds = 2 * CLASS_SHARE * capacity, bench.durations.warm + bench.durations.measured
    records = bench.records(bench.plan(Stage(rate, seconds), kinds=kinds))
    measured = records.between(records.due[0] + bench.durations.warm, float("inf"))
    interactive, batch = (measured.where(measured.kind == number) for number in range(2))
    success = good(interactive, bench.deadline) / len(interactive)
    rest = good(batch, bench.deadline) / bench.durations.measured
    wrong = [f"interactive success {success:.1%}"] if success < INTERACTIVE_SUCCESS else []
    wrong += ["batch starved"] if rest == 0 else []
    happened = f"interactive {success:.1%} good, batch {rest:.0f}/s good ({rest / capacity:.0%} of C)"
    return Row("K06", f"{CLASS_SHARE:.0%} interactive + {CLASS_SHARE:.0%} batch", happened, tuple(wrong))


def stopped(bench: Bench, capacity: float) -> Row:
    """K07: with one of two workers stopped the other gives what one can."""
    before, wait, after = bench.durations.warm, bench.durations.stopped, bench.durations.measured
    worker = bench.target.workers()[0]
    since = processes.started(worker)

    def stop() -> None:
        time.sleep(before)
        os.kill(worker, signal.SIGSTOP)

    try:
        records = bench.records(bench.plan(Stage(BELOW * capacity, before + wait + after)), stop)
    finally:
        signal_if_there(worker, signal.SIGCONT, since)
    late = records.between(records.due[0] + before + wait, float("inf"))
    goodput = good(late, bench.deadline) / after
    wrong = () if goodput >= NEAR_SHARE * ONE_WORKER * capacity else (f"goodput {goodput:.0f}/s",)
    happened = f"{wait:g} s later goodput {goodput:.0f}/s, {goodput / (ONE_WORKER * capacity):.0%} of one worker's"
    return Row("K07", f"one of two workers SIGSTOPped at {BELOW:g} x C", happened, wrong)


def collapse(bench: Bench, capacity: float, peak: float) -> Row:
    """K08, the negative control: without limits goodput must collapse, or the other rows prove nothing."""
    found = bench.measure(COLLAPSE_OFFERED * capacity)
    share = found.goodput / peak
    wrong = () if share < COLLAPSE_SHARE else ("it did not collapse, so the other rows prove nothing",)
    happened = f"goodput {found.goodput:.0f}/s, {share:.0%} of the peak; p99 {milliseconds(found.admitted_p99)} ms"
    return Row("K08", f"limits off, {COLLAPSE_OFFERED:g} x C", happened, wrong)


OnBench = Callable[[Bench, Curve], Row]
ROWS: Mapping[str, OnBench] = {
    "K01": lambda _, found: plateau(found),
    "K02": lambda bench, found: admitted(found, bench.deadline),
    "K03": lambda _, found: refusals(found),
    "K04": lambda bench, found: spike(bench, found.capacity),
    "K05": lambda bench, found: retrying(bench, found.capacity, found.peak),
    "K06": lambda bench, found: classes(bench, found.capacity),
    "K07": lambda bench, found: stopped(bench, found.capacity),
}
"""Those that are asked of the one system with its limits on; K08 needs another."""
OF_THE_CURVE = frozenset({"K01", "K02", "K03"})
"""Those that ask nothing more than the curve."""
