"""Figures of a run, from records that are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from deploy.load.plan import Kind, Plan, Stage
from deploy.load.records import CLOSED, UNSENT, Records, expectation, percentile, read, write
from deploy.load.report import report, text

PLAN = Plan("127.0.0.1", 3000, (Kind("good"), Kind("marked", expected=(500,))), (Stage(10, 1),))


def records() -> Records:
    """Return six requests: three good ones, one closed, one marked that got its 500, one that was never sent."""
    due = np.arange(6.0) + 100
    status = np.array([200, 200, 503, CLOSED, 500, UNSENT], np.int16)
    kind = np.array([0, 0, 0, 0, 1, 1], np.uint8)
    sent = due + np.array([0, 0, 0, 0, 0, math.nan])
    ended = due + np.array([0.01, 0.03, 0.002, 0.5, 0.2, 10])
    attempts = np.array([1, 1, 2, 1, 1, 0], np.uint8)
    return Records(due, sent, ended, status, kind, attempts, expectation(PLAN, status, kind))


def test_figures_count_by_what_each_kind_expects() -> None:
    """A 500 is right for a marked request and wrong for another; percentiles are of what went well."""
    found = report(PLAN, records(), 3, {})
    good, marked = found.kinds
    assert (good.requests, good.expected, good.failed) == (4, 2, 2)
    assert (marked.requests, marked.expected, marked.failed) == (2, 1, 1)
    assert math.isclose(good.worst, 0.03)
    assert math.isclose(good.refused_p99, 0.002)
    assert found.total.attempts == 6
    assert found.total.statuses == {"500": 1, "503": 1, "200": 2, "closed": 1, "unsent": 1}
    assert math.isnan(marked.refused_p99)


def test_the_table_names_every_status() -> None:
    """People see what happened in one line for each kind."""
    shown = text(report(PLAN, records(), 3, {"good 503": '{"error": "full"}'}))
    assert "503 x 1, 200 x 2, closed x 1" in shown
    assert "500 x 1, unsent x 1" in shown
    assert 'good 503: {"error": "full"}' in shown


def test_records_survive_their_file(tmp_path: Path) -> None:
    """What one process writes another reads, column by column, without pickle."""
    write(tmp_path / "records", records())
    again = read(tmp_path / "records")
    assert again.statuses() == records().statuses()
    assert again.kind.tolist() == records().kind.tolist()
    assert again.between(101, 103).status.tolist() == [200, 503]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    """The 99th of a hundred values is the second largest at least, and of nothing it is NaN."""
    assert percentile(np.arange(1, 101, dtype=float), 99) == 100
    assert percentile(np.arange(1, 101, dtype=float), 50) == 51
    assert math.isnan(percentile(np.array([]), 99))
