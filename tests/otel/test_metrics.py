"""Metrics are declared once, cost little, add up over processes and survive restarts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from otel.metrics import (
    OTHER,
    ROWS,
    SECONDS,
    ControllerMetrics,
    GatewayMetrics,
    StoreMetrics,
    UncountedWorkerMetrics,
    WorkerMetrics,
    model_label,
    observe_all,
    open_registry,
    page,
)
from tests.otel.counting import count

NAME = re.compile(r"inferencehub_(worker|gateway|tracestore|controller)_[a-z_]+")


def value(text: str, sample: str) -> float:
    """Return the value of a sample, such as `name{label="x"}`."""
    return float(next(line for line in text.splitlines() if line.startswith(f"{sample} ")).rpartition(" ")[2])


def test_processes_add_up(tmp_path: Path) -> None:
    """The page has the sum over all processes, for counters, histograms and gauges."""
    count(tmp_path, "inference-0", batches=3)
    count(tmp_path, "inference-1", batches=4)
    text = page(tmp_path).decode()
    model = 'model="m",version="1"'
    assert value(text, f"inferencehub_worker_batches_total{{{model}}}") == 7
    assert value(text, f"inferencehub_worker_rows_total{{{model}}}") == 28
    assert value(text, f"inferencehub_worker_compute_seconds_count{{{model}}}") == 7
    assert value(text, f"inferencehub_worker_compute_seconds_sum{{{model}}}") == pytest.approx(0.021)
    assert value(text, f"inferencehub_worker_queue_seconds_count{{{model}}}") == 14
    assert value(text, f'inferencehub_worker_queue_seconds_bucket{{le="0.0025",{model}}}') == 7
    assert value(text, f'inferencehub_worker_batch_rows_bucket{{le="4.0",{model}}}') == 7
    assert value(text, f"inferencehub_worker_queue_rows{{{model}}}") == 10
    assert value(text, f"inferencehub_worker_inline{{{model}}}") == 2
    assert value(text, 'inferencehub_worker_refusals_total{model="m",reason="full",version="1"}') == 2


def test_restarts_go_on_counting_in_the_same_files(tmp_path: Path) -> None:
    """A process that starts anew in a place continues its predecessor's numbers, and no file is added or grows."""
    count(tmp_path, "inference-0", batches=1)
    before = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    for _ in range(3):
        count(tmp_path, "inference-0", batches=1)
    assert {file.name: file.stat().st_size for file in tmp_path.iterdir()} == before
    assert value(page(tmp_path).decode(), 'inferencehub_worker_batches_total{model="m",version="1"}') == 4


def test_without_a_folder_the_numbers_stay_in_the_process(tmp_path: Path) -> None:
    """Where nobody made a folder, counting works and leaves no file."""
    registry = open_registry(tmp_path / "missing", "gateway-0")
    GatewayMetrics(registry).requests.labels("m", "1", "200").inc()
    assert b'inferencehub_gateway_requests_total{code="200",model="m",version="1"} 1.0' in generate_latest(registry)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_whose_metrics_are_off_counts_nothing() -> None:
    """Batches, refusals and waiting rows leave no number."""
    registry = CollectorRegistry()
    model = UncountedWorkerMetrics(registry).model("m", "1")
    before = generate_latest(registry)
    model.note(4, 0.003, [0.0002])
    model.refused("full")
    model.flush(5, is_inline=True)
    assert generate_latest(registry) == before


def test_names_follow_the_conventions() -> None:
    """Every metric has our prefix, a help text, and the suffix of its unit; counters end in _total."""
    registry = CollectorRegistry()
    for declare in (WorkerMetrics, GatewayMetrics, StoreMetrics, ControllerMetrics):
        declare(registry)
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    assert len(families) > 20
    for family in families:
        assert NAME.fullmatch(family.name), family.name
        assert family.documentation.endswith(".")
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_rows", "_difference"))


def test_a_name_of_a_clients_own_is_no_label() -> None:
    """A model that does not exist is counted as the one other."""
    assert model_label("m", {"m": 1}) == "m"
    assert model_label("x" * 10_000, {"m": 1}) == OTHER


@given(values=st.lists(st.floats(0, 100) | st.sampled_from(SECONDS)))
def test_many_values_at_once_are_what_they_are_one_by_one(values: list[float]) -> None:
    """Observing a list leaves a histogram as observing each of its values does."""
    texts = []
    for together in (True, False):
        registry = CollectorRegistry()
        histogram = Histogram("h", "x", registry=registry, buckets=SECONDS)
        if together:
            observe_all(histogram, values)
        else:
            for each in values:
                histogram.observe(each)
        texts.append(generate_latest(registry).decode())
    together_text, one_by_one = ([line for line in text.splitlines() if "_created" not in line] for text in texts)
    assert [line for line in together_text if "_sum" not in line] == [line for line in one_by_one if "_sum" not in line]
    sums = [value("\n".join(lines), "h_sum") for lines in (together_text, one_by_one)]
    assert sums[0] == pytest.approx(sums[1])


def test_buckets_grow() -> None:
    """Bounds of histograms are in order."""
    assert list(SECONDS) == sorted(set(SECONDS))
    assert list(ROWS) == sorted(set(ROWS))
