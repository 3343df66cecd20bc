"""Spans of what has ended are as OpenTelemetry's own would have been."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from inference_core.deadline import now
from otel.recorder import Epoch, Place, Times, Told, link_to, rpc_attributes, rpc_status
from tests.otel.recorded import recorder_to
from tests.otel.test_tracing import SPAN_ID, TRACE_ID

METHOD = "inference.GRPCInferenceService/ModelInfer"
ROOT = Place(TRACE_ID, SPAN_ID)


def test_a_span_has_its_ids_times_and_attributes() -> None:
    """Whoever was given the ids before finds the span under them; a child names its parent."""
    spans = InMemorySpanExporter()
    recorder = recorder_to(spans)
    recorder.record(ROOT, Told("request", SpanKind.SERVER), Times(5, 9), {"a": 1})
    recorder.record(ROOT.below(), Told("queue"), Times(6, 7), {}, [link_to(ROOT, {"app.batch.index": 2})])
    server, child = spans.get_finished_spans()
    assert (format_trace_id(server.context.trace_id), format_span_id(server.context.span_id)) == (TRACE_ID, SPAN_ID)
    assert (server.parent, server.kind, server.attributes) == (None, SpanKind.SERVER, {"a": 1})
    assert (server.start_time, server.end_time, server.status.status_code) == (5, 9, StatusCode.UNSET)
    assert child.parent == server.context
    assert [(link.context, link.attributes) for link in child.links] == [(server.context, {"app.batch.index": 2})]


def test_a_callers_span_is_a_remote_parent() -> None:
    """A server span's parent is in another process."""
    spans = InMemorySpanExporter()
    recorder_to(spans).record(Place(TRACE_ID, "1" * 16, SPAN_ID), Told("request", SpanKind.SERVER), Times(1, 2), {})
    (span,) = spans.get_finished_spans()
    assert span.parent is not None
    assert span.parent.is_remote


def test_an_error_marks_its_span() -> None:
    """Its type is an attribute and the status; without one the status stays unset."""
    spans = InMemorySpanExporter()
    recorder_to(spans).record(ROOT, Told("call", error="NOT_FOUND"), Times(1, 2), rpc_status("NOT_FOUND", 5))
    (span,) = spans.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "NOT_FOUND")
    assert span.attributes == {
        "error.type": "NOT_FOUND",
        "rpc.response.status_code": "NOT_FOUND",
        "rpc.status_code": "NOT_FOUND",
        "rpc.grpc.status_code": 5,
    }


def test_a_call_has_its_old_and_new_names() -> None:
    """Attributes name system, service and method as the conventions did and as they do."""
    assert rpc_attributes(METHOD) == {
        "rpc.system.name": "grpc",
        "rpc.system": "grpc",
        "rpc.service": "inference.GRPCInferenceService",
        "rpc.method": METHOD,
        "rpc.grpc.method": "ModelInfer",
    }


def test_a_worker_is_spoken_for_under_its_own_name() -> None:
    """What is recorded on behalf of a worker has its service and slot, and none of this process's identity."""
    spans = InMemorySpanExporter()
    recorder = recorder_to(spans)
    recorder.on_behalf_of("inference-worker", 3).record(ROOT, Told("compute"), Times(1, 2), {})
    (span,) = spans.get_finished_spans()
    assert span.resource.attributes["service.name"] == "inference-worker"
    assert span.resource.attributes["app.worker.slot"] == 3
    assert "service.instance.id" not in span.resource.attributes
    assert recorder.on_behalf_of("inference-worker", 3) is recorder.on_behalf_of("inference-worker", 3)


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_times_keep_their_distance(first: float, second: float) -> None:
    """Two times of one epoch are as far apart as they were on the clock, whatever the wall clock says."""
    times = Epoch().between(first, second)
    assert times.ended - times.started == pytest.approx((second - first) * 1e9, abs=2)


def test_now_is_now() -> None:
    """A time on the clock of deadlines becomes the wall clock's."""
    assert abs(Epoch().at(now()) - time.time_ns()) < 1e9
