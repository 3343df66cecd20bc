"""A moment is what lies between readings, in rates, percentiles and batches."""

from __future__ import annotations

import math

import pytest

from gateway.moments import moment
from otel.scrape import Labels, Scrape, Values

MODEL: Labels = (("model", "m"), ("version", "1"))


def reading(at: float, requests: int, failed: int = 0) -> Scrape:
    """Return a reading of one gateway that answered so many requests of 4 ms, a worker that computed half the time."""
    seconds = "inferencehub_gateway_request_seconds"
    gateway: Values = {
        "inferencehub_gateway_requests_total": {
            (("code", "200"), *MODEL): float(requests),
            (("code", "504"), *MODEL): float(failed),
            (("code", "503"), ("model", "other"), ("version", "")): 1.0,
        },
        f"{seconds}_bucket": {
            (("le", "0.0025"), *MODEL): 0.0,
            (("le", "0.005"), *MODEL): float(requests),
            (("le", "+Inf"), *MODEL): float(requests),
        },
        f"{seconds}_count": {MODEL: float(requests)},
        f"{seconds}_sum": {MODEL: requests * 0.004},
        "inferencehub_gateway_batch_rows_bucket": {
            (("le", "1.0"), ("model", "m")): 0.0,
            (("le", "+Inf"), ("model", "m")): float(requests),
        },
        "inferencehub_gateway_queue_rows": {(("model", "m"),): 3.0},
    }
    worker: Values = {
        "inferencehub_worker_batches_total": {MODEL: float(requests)},
        "inferencehub_worker_compute_seconds_sum": {MODEL: at / 2},
        "inferencehub_worker_compute_seconds_count": {MODEL: float(requests)},
    }
    return Scrape(at, {"gateway-0": gateway, "inference-10": worker, "inference-2": worker, "tracestore": {}})


def test_rates_are_recent_and_percentiles_of_the_whole_window() -> None:
    """The rate is that of the last two readings, a percentile counts what came since the first."""
    found = moment([reading(0, 0), reading(8, 800), reading(9, 900), reading(10, 1000, failed=10)])
    assert (found.window, found.whole.rate, found.whole.failed) == (10, 105, 5)
    assert found.whole.total.p50 == pytest.approx(0.00375)
    assert found.whole.total.mean == pytest.approx(0.004)
    assert found.whole.queue_rows == 3
    assert found.whole.batches == [(1.0, 0.0), (1e9, 1000.0)]
    assert list(found.models) == ["m"]
    assert found.models["m"].rate == 105
    assert [(one.place, one.batches, one.busy) for one in found.workers] == [
        ("inference-2", 100, 0.5),
        ("inference-10", 100, 0.5),
    ]


def test_a_first_reading_tells_of_no_past() -> None:
    """With nothing to compare with, every rate is zero and there is no percentile."""
    found = moment([reading(5, 1000)])
    assert (found.whole.rate, found.whole.total.p99, found.window) == (0, None, 0)


def test_nothing_at_all_is_a_moment_too() -> None:
    """Where no process has counted anything, the moment has zeros and no infinity, which JSON cannot say."""
    found = moment([Scrape(0, {}), Scrape(1, {})])
    assert (found.whole.rate, found.whole.batches, found.models, found.workers) == (0, [], {}, [])
    assert math.isfinite(found.whole.total.mean)
