"""Why a model was slow: its p50, p95 and p99 split into stages, the batches' reasons, and what changed.

The percentiles come from requests that were kept without a look at how they ended (`rate`, `ratio`, `flag`); those that
were kept because they were slow or failed would make everything look worse than it is, and are told by number. Each
percentile is split by the mean of the requests around it, so that its stages add up to its total.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from inference_core.errors import UnknownModel
from otel.store.query import Search, StoredTraces
from otel.store.summary import Summary
from otel.store.text import milliseconds, table

STAGES = ("receive", "queue", "hop", "worker queue", "compute", "respond", "rest")
BANDS = {"p50": (0.45, 0.55), "p95": (0.93, 0.97), "p99": (0.98, 1.0)}
EVEN = {"rate", "ratio", "flag"}
MOST_TRACES = 10_000
FEW = 100
HOUR = 3600.0
NEGLIGIBLE = 1.2
"""Times as slow as before, up to which nothing is called a change."""


class Window(msgspec.Struct, frozen=True):
    """The requests of a model in some time, those that were kept evenly and those kept for how they ended."""

    even: Sequence[Summary]
    singled_out: Sequence[Summary]


class Split(msgspec.Struct, frozen=True):
    """A percentile of the total and, around it, the mean share of each stage; nanoseconds."""

    total: float
    stages: dict[str, float]


def why(stored: StoredTraces, model: str, minutes: float, now: Callable[[], float] = time.time) -> str:
    """Return the text for people; raises UnknownModel where nothing of the model is stored, and NoTraces."""
    until = now()
    since = until - minutes * 60
    lately, before = _window(stored, model, since, until), _window(stored, model, since - HOUR, since)
    if not lately.even and not lately.singled_out:
        names = ", ".join(stored.models()) or "none"
        raise UnknownModel(
            f"No request of {model} is stored from the last {minutes:g} minutes. Models with stored traces: {names}."
        )
    blocks = [
        _heading(model, minutes, lately, before),
        _splits(lately, before),
        _batches("Batches of the gateway", lately, before, lambda one: (one.reason, one.rows)),
        _batches("Batches in the workers", lately, before, lambda one: (one.worker_reason, one.worker_rows)),
        verdict(splits(lately.even), splits(before.even)),
    ]
    return "\n".join(block for block in blocks if block)


def stages_of(summary: Summary) -> dict[str, float]:
    """Return how long each stage of a request took, in nanoseconds; together they are its duration.

    Unless the gateway's own stages are longer than that, which clocks may say.
    Attempts that ran at the same time (a second one for one that was slow) share that time by what each stage took.
    """
    hop = max(0, summary.calls - summary.worker_queue - summary.compute)
    called = [hop, summary.worker_queue, summary.compute]
    away, left = sum(called), max(0, summary.duration - summary.receive - summary.queue - summary.respond)
    if away > left:
        called = [stage * left // away for stage in called]
    values = (summary.receive, summary.queue, *called, summary.respond, left - sum(called))
    return dict(zip(STAGES, map(float, values), strict=True))


def splits(requests: Sequence[Summary]) -> dict[str, Split]:
    """Return the split of each percentile in BANDS; nothing where there are no requests."""
    ordered = sorted((one for one in requests if one.duration), key=lambda one: one.duration)
    if not ordered:
        return {}
    return {name: _split(ordered, *band) for name, band in BANDS.items()}


def verdict(lately: dict[str, Split], before: dict[str, Split]) -> str:
    """Return what the p99 is made of, and which stage changed most since before."""
    if not lately:
        return ""
    now = lately["p99"]
    largest = max(now.stages, key=lambda stage: now.stages[stage])
    share = now.stages[largest] / sum(now.stages.values())
    sentence = f"The slowest requests spend most of their time in: {largest} ({share:.0%})."
    if not before:
        return sentence + " There is nothing stored from the hour before to compare with.\n"
    times = now.total / before["p99"].total
    if 1 / NEGLIGIBLE < times < NEGLIGIBLE:
        return f"{sentence} The p99 is about what it was in the hour before.\n"
    changes = {stage: now.stages[stage] - before["p99"].stages[stage] for stage in STAGES}
    moved = max(changes, key=lambda stage: changes[stage] if times > 1 else -changes[stage])
    return (
        f"{sentence} The p99 is {times:.1f} times what it was in the hour before; what changed most is {moved}: "
        f"{milliseconds(before['p99'].stages[moved])} ms before, {milliseconds(now.stages[moved])} ms now.\n"
    )


def _window(stored: StoredTraces, model: str, since: float, until: float) -> Window:
    found = stored.search(Search(model=model, since=since, until=until, limit=MOST_TRACES))
    summaries = [each.summary for each in found]
    even = [one for one in summaries if one.kept in EVEN]
    return Window(even, [one for one in summaries if one.kept not in EVEN])


def _heading(model: str, minutes: float, lately: Window, before: Window) -> str:
    counts = Counter(one.kept or "unknown" for one in lately.singled_out)
    singled_out = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    lines = [f"{model}, the last {minutes:g} minutes: {len(lately.even)} requests kept evenly"]
    lines[0] += f" (the hour before: {len(before.even)})."
    if singled_out:
        lines.append(f"Kept for how they ended: {singled_out}.")
    if len(lately.even) < FEW:
        lines.append(f"Fewer than {FEW} requests: the p99 is a guess.")
    return "\n".join(lines) + "\n"


def _splits(lately: Window, before: Window) -> str:
    now, then = splits(lately.even), splits(before.even)
    if not now:
        return ""
    head = ["milliseconds", *now, *(f"{name} before" for name in then)]
    rows = [["total", *(milliseconds(split.total) for split in (*now.values(), *then.values()))]]
    rows += [
        [f"  {stage}", *(milliseconds(split.stages[stage]) for split in (*now.values(), *then.values()))]
        for stage in STAGES
    ]
    return table(head, rows)


def _split(ordered: Sequence[Summary], lowest: float, highest: float) -> Split:
    last = len(ordered) - 1
    around = ordered[int(lowest * last) : int(np.ceil(highest * last)) + 1]
    parts = [stages_of(one) for one in around]
    quantile = (lowest + highest) / 2
    total = float(np.quantile([one.duration for one in ordered], quantile))
    return Split(total, {stage: float(np.mean([part[stage] for part in parts])) for stage in STAGES})


def _batches(title: str, lately: Window, before: Window, of: Callable[[Summary], tuple[str, int]]) -> str:
    now = _reasons(lately, of)
    then = _reasons(before, of)
    return f"{title} left because: {now}{f' (the hour before: {then})' if then else ''}.\n" if now else ""


def _reasons(window: Window, of: Callable[[Summary], tuple[str, int]]) -> str:
    batches = [found for one in window.even if (found := of(one))[0]]
    if not batches:
        return ""
    counts = Counter(reason for reason, _ in batches)
    rows = float(np.mean([rows for _, rows in batches]))
    shares = ", ".join(f"{reason} {number / len(batches):.0%}" for reason, number in counts.most_common())
    return f"{shares}; {rows:.1f} rows as a request sees it"
