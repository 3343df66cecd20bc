"""Requests are found by id, model, status, duration and time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData

from otel.store.query import Search
from otel.store.summary import Summary, summarized
from tests.otel.store.made import BEGAN, GATEWAY, Store, request, sent_by, span, store, trace_id

SECONDS = BEGAN / 10**9


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Run a store with five requests, one of another model, one refused and one failed, and a batch's trace."""
    with store(tmp_path_factory.mktemp("store")) as running:
        made = [
            request(1, ms=10),
            request(2, ms=900, kept="slow"),
            request(3, status=503, kept="refused"),
            request(4, status=502, kept="failed", ms=40),
            request(5, model="other"),
        ]
        running.put(*(part for parts in made for part in parts))
        running.put(sent_by("inference-worker", span("batch m", 6, ms=5000)))
        yield running


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"request_id": "request-2"}, [2]),
        ({"request_id": "nobody"}, []),
        ({"model": "m"}, [4, 3, 2, 1]),
        ({"model": "m", "order": "slowest"}, [2, 4, 3, 1]),
        ({"status": "503"}, [3]),
        ({"status": "failed"}, [4, 3]),
        ({"kept": "slow"}, [2]),
        ({"slower_than": 0.04}, [4, 2]),
        ({"quicker_than": 0.04, "model": "m"}, [3, 1]),
        ({"since": SECONDS + 0.0025}, [5, 4, 3]),
        ({"until": SECONDS + 0.0025}, [2, 1]),
        ({"limit": 2}, [5, 4]),
        ({"limit": 0}, []),
        ({"limit": -1}, []),
        ({"model": "m' OR 1=1 --"}, []),
    ],
)
def test_a_search_finds_what_is_meant(filled: Store, search: dict[str, Any], expected: list[int]) -> None:
    """Conditions add up, newest or slowest come first, and a batch's own trace is no request."""
    found = filled.traces.search(Search(**search))
    if search.get("order") == "slowest":
        assert found[0].trace_id == trace_id(expected[0]).hex()
        assert {one.trace_id for one in found} == {trace_id(number).hex() for number in expected}
    else:
        assert [one.trace_id for one in found] == [trace_id(number).hex() for number in expected]


def test_what_is_found_tells_the_stages(filled: Store) -> None:
    """A found request has its status, its duration as its client saw it, and the time in each stage."""
    (found,) = filled.traces.of_request("request-2")
    summary = found.summary
    assert (summary.name, summary.status, summary.model, summary.version) == ("POST /predict", "200", "m", "1")
    assert (summary.duration, summary.queue, summary.calls, summary.compute) == (900e6, 2e6, 898e6, 449e6)
    assert (summary.reason, summary.rows, summary.worker_reason, summary.worker_rows) == ("idle", 4, "idle", 4)
    assert summary.failed is False


def test_a_batchs_own_trace_is_found_by_its_id(filled: Store) -> None:
    """What no search for requests shows is there all the same."""
    assert filled.traces.trace(trace_id(6).hex()) is not None


@pytest.mark.parametrize("odd", ["", "zz", "00", "0" * 32, "é", "f" * 1000])
def test_an_id_that_is_none_finds_nothing(filled: Store, odd: str) -> None:
    """Whatever is asked for, the answer is that it is not there."""
    assert filled.traces.trace(odd) is None


def test_models_are_listed(filled: Store) -> None:
    """The models of which something is stored."""
    assert filled.traces.models() == ["m", "other"]


def test_the_last_hours_hold_nothing_older(filled: Store) -> None:
    """Slowest and failed of the last hours leave out what was long ago."""
    assert filled.traces.slowest(1.0) == []
    assert filled.traces.failed(1.0) == []
    assert len(filled.traces.failed(24 * 365 * 1000.0)) == 2


@given(order=st.permutations(range(4)))
def test_the_order_of_parts_makes_no_difference(order: list[int]) -> None:
    """Whichever program's spans arrive first, the summary is the same."""
    parts = [*request(7, status=504, kept="failed"), *request(7)[1:], sent_by(GATEWAY, span("queue", 7, parent=1))]
    expected, actual = Summary(), Summary()
    for part in parts:
        expected.add(summarized([part], 10))
    for number in order:
        actual.add(summarized([parts[number]], 10))
    assert actual == expected
    assert (actual.status, actual.kept, actual.failed) == ("504", "failed", True)


def test_a_request_that_was_saved_has_not_failed() -> None:
    """An attempt that failed, or was beaten by a second one, marks its own span and not the request."""
    lost = sent_by(GATEWAY, span("call", 8, parent=1, kind=Span.SPAN_KIND_CLIENT, code=Status.STATUS_CODE_ERROR))
    for parts in ([lost, *request(8)], [*request(8), lost]):
        whole = Summary()
        for part in parts:
            whole.add(summarized([part], 10))
        assert not whole.failed
        assert not summarized(parts, 10).failed
    assert summarized([lost], 10).failed


def test_a_trace_that_comes_again_is_told_once(tmp_path: Path) -> None:
    """Spans that are replayed into the store they came from are not counted twice."""
    with store(tmp_path) as running:
        parts = request(7, ms=10)
        running.put(*parts)
        once = running.traces.trace(trace_id(7).hex())
        running.put(*parts)
        again = running.traces.trace(trace_id(7).hex())
    assert once is not None
    assert again is not None
    assert spans_in(again) == spans_in(once) > 0


def spans_in(whole: TracesData) -> int:
    """Return how many spans there are."""
    return sum(len(scope.spans) for resource in whole.resource_spans for scope in resource.scope_spans)
