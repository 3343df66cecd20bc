"""A request that is kept for how it ended has the same trace as one that was kept from the beginning."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gateway.call import Call, Try
from gateway.request_spans import Ended, Observed, RequestSpans
from inference_core.deadline import Deadline
from inference_core.names import INFER
from otel.requests import RequestTrace
from tests.otel.recorded import recorder_to

TRACE_ID, SPAN_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
MILLISECOND = 1_000_000
START = 1000.0


def told(*tries: Try, status: int = 200, head: str = "") -> dict[tuple[str, SpanKind], list[ReadableSpan]]:
    """Return the spans of a request of 100 ms that was queued after 1 ms, by name and kind."""
    trace = RequestTrace(TRACE_ID, SPAN_ID, PARENT_ID, "", head)
    call = Call(Deadline(0.0), "id", trace, model="m", version="1", attempts=len(tries))
    call.queued_at, call.tries = START + 0.001, tries
    call.arm, call.cache = "canary", "miss"
    spans = InMemorySpanExporter()
    observed = Observed("POST", "request-1", trace, START)
    RequestSpans(recorder_to(spans)).record(Ended(observed, head or "slow", START + 0.1, "/predict", status, call))
    found: dict[tuple[str, SpanKind], list[ReadableSpan]] = {}
    for span in spans.get_finished_spans():
        found.setdefault((span.name, span.kind), []).append(span)
    return found


def times(span: ReadableSpan, server: ReadableSpan) -> tuple[int, int]:
    """Return when a span began and ended after the server span's beginning, in whole milliseconds."""
    assert span.start_time is not None
    assert span.end_time is not None
    assert server.start_time is not None
    begin, end = span.start_time - server.start_time, span.end_time - server.start_time
    return round(begin / MILLISECOND), round(end / MILLISECOND)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return a span's attributes."""
    return dict(span.attributes or {})


def answered(computing_at: float = 0.0) -> Try:
    """Return an attempt that began after 20 ms and took 60: 10 of queue and 30 of compute in the worker."""
    return Try(1, START + 0.02, 8, 4, "full", START + 0.08, "OK", 0, 0.01, 0.03, computing_at)


@pytest.mark.parametrize(("computing_at", "began"), [(START + 0.035, 35), (0.0, 40), (START + 99.0, 40)])
def test_a_slow_request_has_all_stages(computing_at: float, began: int) -> None:
    """Server, queue, call, and the worker's server, queue and compute, each within its parent.

    A worker on another machine has another clock, and then the way there is taken for as long as the way back.
    """
    found = told(answered(computing_at))
    ((server,), (queue, worker_queue)) = found["POST /predict", SpanKind.SERVER], found["queue", SpanKind.INTERNAL]
    (call,), (worker,) = found[INFER, SpanKind.CLIENT], found[INFER, SpanKind.SERVER]
    (compute,) = found["compute", SpanKind.INTERNAL]
    assert times(server, server) == (0, 100)
    assert times(queue, server) == (1, 20)
    assert times(call, server) == (20, 80)
    assert times(worker_queue, server) == (began - 10, began)
    assert times(compute, server) == (began, began + 30)
    assert times(worker, server) == (began - 10, began + 30)
    parents = [span.parent and span.parent.span_id for span in (server, queue, call, worker, worker_queue, compute)]
    ids = [span.context.span_id for span in (server, call, worker)]
    assert parents == [int(PARENT_ID, 16), ids[0], ids[0], ids[1], ids[2], ids[2]]
    assert attributes(server)["app.kept"] == "slow"
    assert (attributes(server)["app.arm"], attributes(server)["app.cache"]) == ("canary", "miss")
    assert attributes(call)["app.batch.reason"] == "full"
    assert worker.resource.attributes["service.name"] == "inference-worker"
    assert attributes(compute)["app.recorded_by"] == "gateway"


def test_the_worker_speaks_for_itself_where_it_was_asked_to() -> None:
    """A request that was kept from the beginning has no second spans of its worker."""
    assert set(told(answered(), head="rate")) == {
        ("POST /predict", SpanKind.SERVER),
        ("receive", SpanKind.INTERNAL),
        ("queue", SpanKind.INTERNAL),
        ("respond", SpanKind.INTERNAL),
        (INFER, SpanKind.CLIENT),
    }


def test_lost_attempts_show() -> None:
    """A request whose first worker died has both calls and both waits; one still under way was cancelled."""
    lost = Try(0, START + 0.005, 1, 1, "idle", START + 0.01, "UNAVAILABLE", 14)
    running = Try(2, START + 0.03, 1, 1, "idle")
    found = told(lost, answered(), running)
    calls = found[INFER, SpanKind.CLIENT]
    assert [attributes(span)["rpc.status_code"] for span in calls] == ["UNAVAILABLE", "OK", "CANCELLED"]
    assert [attributes(span)["app.attempt"] for span in calls] == [1, 2, 3]
    assert [attributes(span)["app.worker.slot"] for span in calls] == [0, 1, 2]
    server = found["POST /predict", SpanKind.SERVER][0]
    assert times(calls[2], server) == (30, 100)
    queues = [span for span in found["queue", SpanKind.INTERNAL] if "app.recorded_by" not in attributes(span)]
    assert [times(span, server) for span in queues] == [(1, 5), (10, 20)]


def test_what_was_never_sent_waited_to_the_end() -> None:
    """A request whose deadline passed in the queue has a queue span, and an error on its server span."""
    found = told(status=504)
    (server,), (queue,) = found["POST /predict", SpanKind.SERVER], found["queue", SpanKind.INTERNAL]
    assert times(queue, server) == (1, 100)
    assert (server.status.status_code, attributes(server)["error.type"]) == (StatusCode.ERROR, "504")


def test_the_spans_below_the_servers_are_all_its_time() -> None:
    """What the gateway itself did before the queue and after the answer has spans, and between them there is no gap."""
    found = told(answered())
    stages = [found[key, SpanKind.INTERNAL][0] for key in ("receive", "queue", "respond")]
    stages.insert(2, found[INFER, SpanKind.CLIENT][0])
    (server,) = found["POST /predict", SpanKind.SERVER]
    assert [times(span, server) for span in stages] == [(0, 1), (1, 20), (20, 80), (80, 100)]
    assert {span.parent and span.parent.span_id for span in stages} == {server.context.span_id}
