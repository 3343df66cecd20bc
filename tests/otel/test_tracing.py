"""Traces continue across processes, and tracing never holds up the program that it observes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from inference_core.settings import Telemetry
from otel import tracing
from tests.otel.collector import Collector
from tests.waiting import wait_for

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
NOBODY = "http://127.0.0.1:1"
METHOD = "inference.GRPCInferenceService/ModelInfer"

MALFORMED = [
    "",
    "00",
    TRACE_ID,
    PARENT.upper(),
    f"00-{'0' * 32}-{SPAN_ID}-01",
    f"00-{TRACE_ID}-{'0' * 16}-01",
    f"ff-{TRACE_ID}-{SPAN_ID}-01",
    f"{PARENT}-what-00-forbids",
    f"{PARENT}\r\nx-injected: 1",
    f"00-{TRACE_ID}-{SPAN_ID}",
    f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01",
    f"00-{TRACE_ID}0-{SPAN_ID}-01",
    f"00-{TRACE_ID[:-1]}g-{SPAN_ID}-01",
    f"00-{TRACE_ID}-{SPAN_ID}-zz",
    f"{PARENT},{PARENT}",
    "0" * 100_000,
    "00-" * 30_000,
    "é" * 55,
]


class Traced:
    """Tracing whose finished spans stay in memory."""

    def __init__(self, settings: Telemetry) -> None:
        self.tracing = tracing.start(settings, "test", "0")
        self.exporter = InMemorySpanExporter()
        self.tracing.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def span(self) -> ReadableSpan:
        """Return the only finished span."""
        (span,) = self.exporter.get_finished_spans()
        return span


@pytest.fixture
def traced() -> Iterator[Traced]:
    """Trace towards an endpoint where nobody listens."""
    running = Traced(Telemetry(otlp_endpoint=NOBODY, sample_ratio=1.0, export_timeout=0.1))
    yield running
    running.tracing.stop()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Run a collector."""
    running = Collector()
    yield running
    running.close()


def context_of(traceparent: str, **headers: str) -> trace.SpanContext:
    """Return the span context that a carrier continues."""
    context = tracing.context_from({"traceparent": traceparent, **headers})
    return trace.get_current_span(context).get_span_context()


def test_spans_arrive_with_what_finds_them(collector: Collector) -> None:
    """A span reaches an OTLP endpoint by the time of the stop, with service, namespace, version, pid and slot."""
    running = tracing.start(
        Telemetry(otlp_endpoint=collector.endpoint, sample_ratio=1.0), "worker", "1.2", {"app.slot": 3}
    )
    running.tracer.start_span("work").end()
    running.stop()
    ((resource_spans,),) = (request.resource_spans for request in collector.requests)
    attributes = {item.key: item.value for item in resource_spans.resource.attributes}
    assert attributes["service.name"].string_value == "worker"
    assert attributes["service.namespace"].string_value == "inference-hub"
    assert attributes["service.version"].string_value == "1.2"
    assert attributes["app.slot"].int_value == 3
    assert attributes["process.pid"].int_value > 1
    assert [span.name for scope in resource_spans.scope_spans for span in scope.spans] == ["work"]


def test_without_an_endpoint_ids_exist_and_nothing_leaves() -> None:
    """An empty endpoint gives spans with ids for the logs, not sampled, no thread and nothing to stop."""
    others = threading.enumerate()
    running = Traced(Telemetry(otlp_endpoint="", sample_ratio=1.0))
    assert [thread.name for thread in threading.enumerate() if thread not in others] == []
    span = running.tracing.tracer.start_span("work")
    assert span.get_span_context().is_valid
    assert not span.get_span_context().trace_flags.sampled
    assert len(tracing.trace_id_of(span)) == 32
    span.end()
    assert running.exporter.get_finished_spans() == ()
    running.tracing.stop()
    assert [thread.name for thread in threading.enumerate() if thread not in others] == []


def test_without_an_endpoint_a_trace_still_passes_through() -> None:
    """An empty endpoint keeps a caller's trace id for the logs and for the next process."""
    running = tracing.start(Telemetry(otlp_endpoint="", sample_ratio=1.0), "test", "0")
    span = running.tracer.start_span("work", tracing.context_from({"traceparent": PARENT}))
    assert tracing.trace_id_of(span) == TRACE_ID
    ((name, value),) = tracing.metadata_of(span)
    assert (name, value[:36], value[-2:]) == ("traceparent", f"00-{TRACE_ID}-", "00")


def test_ending_spans_waits_for_no_export(collector: Collector) -> None:
    """While an export hangs, more spans than the queue holds can still end."""
    collector.open.clear()
    running = tracing.start(
        Telemetry(otlp_endpoint=collector.endpoint, sample_ratio=1.0, export_timeout=60.0), "test", "0"
    )
    running.tracer.start_span("first").end()
    wait_for(lambda: collector.requests, "the first export")
    for _ in range(2 * tracing.QUEUE_SPANS):
        running.tracer.start_span("later").end()
    assert len(collector.requests) == 1
    collector.open.set()
    running.provider.shutdown()
    assert len(collector.spans()) == 1 + tracing.QUEUE_SPANS


def test_stopping_leaves_an_export_that_hangs(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping returns after its bound although the last export still hangs."""
    monkeypatch.setattr(tracing, "STOP_SECONDS", 0.1)
    collector.open.clear()
    others = threading.enumerate()
    running = tracing.start(
        Telemetry(otlp_endpoint=collector.endpoint, sample_ratio=1.0, export_timeout=60.0), "test", "0"
    )
    running.tracer.start_span("work").end()
    running.stop()
    ours = [thread.name for thread in threading.enumerate() if thread not in others]
    assert "OtelBatchSpanRecordProcessor" in ours


def test_stopping_without_a_collector_keeps_its_bound() -> None:
    """Stopping ends by itself where nobody listens: the exporter gives up after its timeout."""
    running = tracing.start(Telemetry(otlp_endpoint=NOBODY, sample_ratio=1.0, export_timeout=0.1), "test", "0")
    running.tracer.start_span("work").end()
    started = time.monotonic()
    running.stop()
    assert time.monotonic() - started < tracing.STOP_SECONDS + 5


@pytest.mark.parametrize("traceparent", MALFORMED, ids=lambda text: text[:60].encode("unicode_escape").decode())
def test_a_malformed_traceparent_starts_a_new_trace(traced: Traced, traceparent: str) -> None:
    """What W3C Trace Context does not allow is ignored, and the span is the root of a trace of its own."""
    traced.tracing.tracer.start_span("work", tracing.context_from({"traceparent": traceparent})).end()
    span = traced.span()
    assert span.parent is None
    assert span.context.trace_id != int(TRACE_ID, 16)


@pytest.mark.parametrize("traceparent", [PARENT, f"01-{TRACE_ID}-{SPAN_ID}-01-later-versions-may-go-on"])
def test_a_traceparent_is_continued(traced: Traced, traceparent: str) -> None:
    """A span of a caller's trace has the caller's trace id and span as parent."""
    traced.tracing.tracer.start_span("work", tracing.context_from({"traceparent": traceparent})).end()
    span = traced.span()
    assert span.parent is not None
    assert trace.format_trace_id(span.context.trace_id) == TRACE_ID
    assert trace.format_span_id(span.parent.span_id) == SPAN_ID


@pytest.mark.parametrize("flags", ["00", "01"])
@pytest.mark.parametrize("ratio", [0.0, 1.0])
@pytest.mark.parametrize("trusted", [True, False])
def test_the_sampled_flag_counts_where_it_is_trusted(flags: str, ratio: float, trusted: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """A trusted caller's flag decides for its trace; otherwise our own ratio does."""
    running = tracing.start(
        Telemetry(otlp_endpoint=NOBODY, sample_ratio=ratio, trust_sampled_flag=trusted, export_timeout=0.1), "test", "0"
    )
    context = tracing.context_from({"traceparent": f"{PARENT[:-2]}{flags}"})
    span = running.tracer.start_span("work", context)
    assert span.get_span_context().trace_flags.sampled == (flags == "01" if trusted else ratio == 1.0)
    running.provider.shutdown()


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_our_own_traces_follow_the_ratio(ratio: float) -> None:
    """A trace that begins here is sampled by the ratio, and its children follow it."""
    running = tracing.start(Telemetry(otlp_endpoint=NOBODY, sample_ratio=ratio, export_timeout=0.1), "test", "0")
    root = running.tracer.start_span("root", tracing.context_from({}))
    child = running.tracer.start_span("child", trace.set_span_in_context(root))
    sampled = [span.get_span_context().trace_flags.sampled for span in (root, child)]
    assert sampled == [ratio == 1.0] * 2
    running.provider.shutdown()


def test_baggage_stops_at_the_border(traced: Traced) -> None:
    """Baggage from outside is neither read nor handed on."""
    context = tracing.context_from({"traceparent": PARENT, "baggage": "user=%0d%0aroot"})
    assert baggage.get_all(context) == {}
    span = traced.tracing.tracer.start_span("work", context)
    assert [name for name, _ in tracing.metadata_of(span)] == ["traceparent"]


@pytest.mark.parametrize(
    "tracestate",
    [",".join(f"k{number}=v" for number in range(200)), "k=" + "v" * 100_000, "not a list", "a=\r\nb", "k=v,k=w"],
    ids=["200 members", "100 kB", "no list", "newline", "twice"],
)
def test_a_bad_tracestate_is_dropped(tracestate: str) -> None:
    """A tracestate that W3C Trace Context does not allow is dropped, and the trace goes on without it."""
    context = context_of(PARENT, tracestate=tracestate)
    assert trace.format_trace_id(context.trace_id) == TRACE_ID
    assert sum(len(key) + len(value) for key, value in context.trace_state.items()) < 512


def test_the_next_process_continues_the_trace(traced: Traced) -> None:
    """The metadata of a span, read by the next process, names that span as the parent."""
    span = traced.tracing.tracer.start_span("work")
    metadata = dict(tracing.metadata_of(span))
    context = trace.get_current_span(tracing.context_from(metadata)).get_span_context()
    ours = span.get_span_context()
    assert (context.trace_id, context.span_id, context.is_remote) == (ours.trace_id, ours.span_id, True)


@pytest.mark.parametrize("kind", [SpanKind.SERVER, SpanKind.CLIENT])
def test_a_call_has_its_old_and_new_names(traced: Traced, kind: SpanKind) -> None:
    """A call's span names system, service and method as the conventions did and as they do."""
    span = tracing.start_rpc_span(traced.tracing.tracer, kind, METHOD)
    tracing.end_rpc_span(span, "OK", 0, failed=False)
    finished = traced.span()
    assert (finished.name, finished.kind) == (METHOD, kind)
    assert finished.status.status_code is StatusCode.UNSET
    assert finished.attributes == {
        "rpc.system.name": "grpc",
        "rpc.system": "grpc",
        "rpc.service": "inference.GRPCInferenceService",
        "rpc.method": METHOD,
        "rpc.grpc.method": "ModelInfer",
        "rpc.response.status_code": "OK",
        "rpc.status_code": "OK",
        "rpc.grpc.status_code": 0,
    }


@pytest.mark.parametrize("failed", [True, False])
def test_a_failed_call_is_marked(traced: Traced, failed: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """A failed call's span has the status as error type; a refused one only carries the status."""
    tracing.end_rpc_span(
        tracing.start_rpc_span(traced.tracing.tracer, SpanKind.SERVER, METHOD), "NOT_FOUND", 5, failed=failed
    )
    finished = traced.span()
    attributes = finished.attributes or {}
    assert finished.status.status_code is (StatusCode.ERROR if failed else StatusCode.UNSET)
    assert attributes.get("error.type") == ("NOT_FOUND" if failed else None)
    assert (attributes["rpc.status_code"], attributes["rpc.grpc.status_code"]) == ("NOT_FOUND", 5)
