"""What this machine did in the last seconds, from two readings of everybody's metrics.

Rates are those of the last RECENT seconds, percentiles and batch sizes those of the whole window, because a second has
too few requests for a p99. Where nothing was measured a percentile is None.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from otel.metrics import NAMESPACE
from otel.scrape import Scrape, Values, apart, buckets, difference, label_values, quantile, summed

GATEWAY, WORKER = f"{NAMESPACE}_gateway", f"{NAMESPACE}_worker"
STAGES = ("receive", "queue", "hop", "worker_queue", "compute", "respond")
RECENT = 2
MOST_MODELS = 32
FAILED, REFUSED = ("500", "502", "504"), ("429", "503")


class Stage(msgspec.Struct, frozen=True):
    """Seconds that requests spent in one stage; `mean` may be added over stages, percentiles may not."""

    p50: float | None
    p95: float | None
    p99: float | None
    mean: float


class Flow(msgspec.Struct, frozen=True):
    """Requests of one model or of all: rates in requests for each second, `batches` by their largest number of rows."""

    rate: float
    failed: float
    refused: float
    total: Stage
    stages: dict[str, Stage]
    batches: list[tuple[float, float]]
    queue_rows: float
    in_flight: float


class Work(msgspec.Struct, frozen=True):
    """One worker: batches and rows for each second, `busy` compute seconds for each second, the rest as in Flow."""

    place: str
    batches: float
    rows: float
    busy: float
    compute: Stage
    queue: Stage
    queue_rows: float


class Moment(msgspec.Struct, frozen=True):
    """Everything at one time, in seconds since 1970; `window` is how many seconds the percentiles are taken over."""

    at: float
    window: float
    whole: Flow
    models: dict[str, Flow]
    workers: list[Work]


def moment(history: Sequence[Scrape]) -> Moment:
    """Return what happened between the readings, oldest first, of which there is at least one."""
    newest, oldest, recent = history[-1], history[0], history[-1 - min(RECENT, len(history) - 1)]
    now = newest.total("gateway-")
    lately = difference(now, recent.total("gateway-"))
    window = difference(now, oldest.total("gateway-"))
    seconds = max(newest.at - recent.at, 1e-9)
    models = label_values(now, f"{GATEWAY}_request_seconds_count", "model")[:MOST_MODELS]
    return Moment(
        time.time(),
        newest.at - oldest.at,
        _flow(now, lately, window, seconds),
        {model: _flow(now, lately, window, seconds, model=model) for model in models},
        [_work(newest, oldest, place) for place in sorted(newest.places, key=_order) if place.startswith("inference-")],
    )


def _flow(now: Values, lately: Values, window: Values, seconds: float, **labels: str) -> Flow:
    requests = f"{GATEWAY}_requests_total"
    return Flow(
        summed(lately, requests, **labels) / seconds,
        sum(summed(lately, requests, code=code, **labels) for code in FAILED) / seconds,
        sum(summed(lately, requests, code=code, **labels) for code in REFUSED) / seconds,
        _stage(window, f"{GATEWAY}_request_seconds", **labels),
        {stage: _stage(window, f"{GATEWAY}_{stage}_seconds", **labels) for stage in STAGES},
        # JSON has no infinity.
        [(min(bound, 1e9), count) for bound, count in apart(buckets(window, f"{GATEWAY}_batch_rows", **labels))],
        summed(now, f"{GATEWAY}_queue_rows", **labels),
        summed(now, f"{GATEWAY}_batches_in_flight", **labels),
    )


def _work(newest: Scrape, oldest: Scrape, place: str) -> Work:
    window = difference(newest.places[place], oldest.places.get(place, {}))
    seconds = max(newest.at - oldest.at, 1e-9)
    return Work(
        place,
        summed(window, f"{WORKER}_batches_total") / seconds,
        summed(window, f"{WORKER}_rows_total") / seconds,
        summed(window, f"{WORKER}_compute_seconds_sum") / seconds,
        _stage(window, f"{WORKER}_compute_seconds"),
        _stage(window, f"{WORKER}_queue_seconds"),
        summed(newest.places[place], f"{WORKER}_queue_rows"),
    )


def _stage(values: Values, histogram: str, **labels: str) -> Stage:
    counted = buckets(values, histogram, **labels)
    count, total = summed(values, f"{histogram}_count", **labels), summed(values, f"{histogram}_sum", **labels)
    p50, p95, p99 = (quantile(counted, share) for share in (0.5, 0.95, 0.99))
    return Stage(p50, p95, p99, total / count if count else 0.0)


def _order(place: str) -> tuple[int, str]:
    return len(place), place
