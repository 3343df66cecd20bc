"""Figures of a run: by kind and in all, for a program as JSON and for people as a table."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from deploy.load.plan import Plan
from deploy.load.records import Records, percentile
from deploy.table import milliseconds, table

HEAD = ("kind", "requests", "as expected", "failed", "p50 ms", "p99 ms", "worst ms", "refused in p99 ms", "statuses")
UNAVAILABLE = 503
LATE_GENERATOR_SECONDS = 0.05


class Figures(msgspec.Struct, frozen=True):
    """What became of some requests. Times in seconds from when each was due; NaN (null in JSON) where there is none.

    `p50`, `p99` and `worst` are of those that ended as expected, `refused_p99` is of the answers 503, and `sent_p99`
    is how late requests left, which is the generator's own doing while connections are free.
    """

    kind: str
    requests: int
    expected: int
    failed: int
    p50: float
    p99: float
    worst: float
    refused_p99: float
    sent_p99: float
    attempts: int
    statuses: dict[str, int]


class Report(msgspec.Struct, frozen=True):
    """A whole run; `rate` is what was sent per second, and `connections` the most that were open together."""

    seed: int
    seconds: float
    rate: float
    connections: int
    total: Figures
    kinds: tuple[Figures, ...]
    samples: dict[str, str]


def figures(name: str, records: Records) -> Figures:
    """Return the figures of these requests."""
    good = records.latency[records.expected]
    refused = records.latency[records.status == UNAVAILABLE]
    sent = ~np.isnan(records.sent)
    return Figures(
        kind=name,
        requests=len(records),
        expected=len(good),
        failed=len(records) - len(good),
        p50=percentile(good, 50),
        p99=percentile(good, 99),
        worst=percentile(good, 100),
        refused_p99=percentile(refused, 99),
        sent_p99=percentile((records.sent - records.due)[sent], 99),
        attempts=int(records.attempts.sum()),
        statuses=records.statuses(),
    )


def report(plan: Plan, records: Records, connections: int, samples: dict[str, str]) -> Report:
    """Return what a run of the plan gave."""
    kinds = [figures(kind.name, records.where(records.kind == number)) for number, kind in enumerate(plan.kinds)]
    seconds = float(records.due[-1] - records.due[0]) if len(records) > 1 else 0.0
    return Report(
        seed=plan.seed,
        seconds=seconds,
        rate=len(records) / seconds if seconds else math.nan,
        connections=connections,
        total=figures("all", records),
        kinds=tuple(kinds),
        samples=samples,
    )


def text(report: Report) -> str:
    """Return the run as a table, with one answer for each failure and a warning where the generator was late."""
    rows = [*report.kinds, report.total] if len(report.kinds) > 1 else report.kinds
    first = (
        f"{report.total.requests} requests in {report.seconds:.1f} s ({report.rate:.0f}/s), seed {report.seed}, "
        f"at most {report.connections} connections, sent {milliseconds(report.total.sent_p99)} ms late (p99)"
    )
    lines = [
        first,
        table(HEAD, [_row(row) for row in rows]).rstrip(),
        *(f"{name}: {answer}" for name, answer in report.samples.items()),
    ]
    if report.total.sent_p99 > LATE_GENERATOR_SECONDS:
        lines.append("Requests left late: every connection was busy, or the generator's core was.")
    return "\n".join(lines) + "\n"


def statuses_text(statuses: dict[str, int]) -> str:
    """Return statuses with how often each came, such as `200 x 7, closed x 1`."""
    return ", ".join(f"{name} x {count}" for name, count in statuses.items()) or "-"


def _row(figures: Figures) -> tuple[str, ...]:
    times = (figures.p50, figures.p99, figures.worst, figures.refused_p99)
    counts = (figures.requests, figures.expected, figures.failed)
    return figures.kind, *map(str, counts), *map(milliseconds, times), statuses_text(figures.statuses)
