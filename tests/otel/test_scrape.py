"""Readings of all processes' metrics, and what lies between two of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel.scrape import Buckets, apart, buckets, difference, label_values, quantile, summed, take
from tests.otel.counting import count

BATCHES, COMPUTE = "inferencehub_worker_batches_total", "inferencehub_worker_compute_seconds"


def test_each_process_is_told_apart_and_all_can_be_added(tmp_path: Path) -> None:
    """What a worker counted is found under its place, and the sum over all workers is right."""
    count(tmp_path, "inference-0", batches=3)
    count(tmp_path, "inference-10", batches=4)
    scrape = take(tmp_path)
    assert {place: summed(values, BATCHES) for place, values in scrape.places.items()} == {
        "inference-0": 3,
        "inference-10": 4,
    }
    assert summed(scrape.total("inference-"), BATCHES, model="m") == 7
    assert summed(scrape.total("inference-"), BATCHES, model="other") == 0
    assert label_values(scrape.total("inference-"), BATCHES, "model") == ["m"]
    assert buckets(scrape.total("inference-"), COMPUTE)[-1] == (math.inf, 7)
    assert summed(scrape.total("inference-"), "inferencehub_worker_queue_rows") == 10


def test_a_difference_is_what_came_since(tmp_path: Path) -> None:
    """Between two readings lies what was counted between them, and never less than nothing."""
    count(tmp_path, "inference-0", batches=3)
    before = take(tmp_path).total("")
    count(tmp_path, "inference-0", batches=2)
    after = take(tmp_path).total("")
    assert summed(difference(after, before), BATCHES) == 2
    assert summed(difference(before, after), BATCHES) == 0


def test_no_folder_is_an_empty_reading(tmp_path: Path) -> None:
    """Before anything was started there is nothing to read, and no error."""
    assert take(tmp_path / "nowhere").places == {}


@pytest.mark.parametrize(
    ("counted", "share", "expected"),
    [
        ([], 0.5, None),
        ([(1.0, 0.0), (math.inf, 0.0)], 0.5, None),
        ([(1.0, 0.0), (2.0, 10.0), (math.inf, 10.0)], 0.5, 1.5),
        ([(1.0, 5.0), (2.0, 10.0), (math.inf, 10.0)], 0.5, 1.0),
        ([(1.0, 0.0), (2.0, 1.0), (math.inf, 10.0)], 0.99, 2.0),
    ],
)
def test_a_quantile_is_the_one_prometheus_would_tell(counted: Buckets, share: float, expected: float | None) -> None:
    """Within a bucket values are spread evenly; above the last bound the bound is told; of nothing there is none."""
    assert quantile(counted, share) == expected


@given(st.lists(st.floats(0.0001, 50), min_size=1, max_size=200), st.floats(0.01, 0.99))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    """However the values lie, the told quantile is at most one bucket away from the true one."""
    bounds = (0.001, 0.01, 0.1, 1.0, 10.0, math.inf)
    counted = [(bound, float(sum(value <= bound for value in values))) for bound in bounds]
    told = quantile(counted, share)
    assert told is not None
    true = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    upper = next(bound for bound in bounds if true <= bound)
    lower = max((bound for bound in (0.0, *bounds) if bound < true), default=0.0)
    assert lower <= told <= upper
    assert sum(number for _, number in apart(counted)) == len(values)
