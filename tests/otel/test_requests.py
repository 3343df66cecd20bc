"""A request's place in its trace: whose trace it is, whether it is kept, and what goes on to the worker."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from inference_core.names import request_id_from
from inference_core.settings import Telemetry
from otel.requests import TRACEPARENT, RequestTrace, RequestTraces
from tests.otel.test_tracing import MALFORMED, PARENT, SPAN_ID, TRACE_ID

ENDPOINT = "http://127.0.0.1:1"
UNSAMPLED = f"{PARENT[:-2]}00"
ALL, NONE = (
    Telemetry(otlp_endpoint=ENDPOINT, sample_ratio=1.0),
    Telemetry(otlp_endpoint=ENDPOINT, sample_ratio=0.0, traces_per_second=0.0),
)
IDS = re.compile(r"[0-9a-f]{32}/[0-9a-f]{16}")


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Return where finished spans stay."""
    return InMemorySpanExporter()


@pytest.fixture(scope="module")
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    """Return a provider that keeps every span."""
    running = TracerProvider()
    running.add_span_processor(SimpleSpanProcessor(exporter))
    yield running
    running.shutdown()


@pytest.fixture(scope="module")
def all_kept(provider: TracerProvider) -> RequestTraces:
    """Return what keeps all traces."""
    return RequestTraces(provider.get_tracer("test"), ALL)


def is_sound(trace: RequestTrace) -> bool:
    """Tell whether a trace has ids that go on."""
    sampled = "00" if trace.span is None else "01"
    return bool(IDS.fullmatch(f"{trace.trace_id}/{trace.span_id}")) and trace.traceparent == (
        f"00-{trace.trace_id}-{trace.span_id}-{sampled}"
    )


@pytest.mark.parametrize("traceparent", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_traceparent_starts_a_new_trace(all_kept: RequestTraces, traceparent: str) -> None:
    """What W3C Trace Context does not allow is ignored, and with it the tracestate beside it."""
    trace = all_kept.begin("GET", traceparent, "a=b")
    assert is_sound(trace)
    assert trace.trace_id != TRACE_ID
    assert trace.state == ""


@given(st.text(max_size=80) | st.from_regex(TRACEPARENT, fullmatch=True), st.text(max_size=40))
def test_nothing_is_unexpected(all_kept: RequestTraces, traceparent: str, tracestate: str) -> None:
    """Whatever the header fields are, the request has ids, and what goes on is printable ASCII."""
    trace = all_kept.begin("GET", traceparent, tracestate)
    assert is_sound(trace)
    assert trace.state.isascii()
    assert not trace.state or trace.state.isprintable()


@pytest.mark.parametrize("flags", ["00", "01", "03"])
@pytest.mark.parametrize("trusted", [True, False])
def test_the_sampled_flag_counts_where_it_is_trusted(
    provider: TracerProvider,
    flags: str,
    trusted: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    """A trusted caller's flag decides for its trace; otherwise our own rates do, and the trace id stays."""
    for base in (ALL, NONE):
        telemetry = Telemetry(
            otlp_endpoint=ENDPOINT, sample_ratio=base.sample_ratio, traces_per_second=0.0, trust_sampled_flag=trusted
        )
        trace = RequestTraces(provider.get_tracer("test"), telemetry).begin("GET", f"{PARENT[:-2]}{flags}")
        assert trace.trace_id == TRACE_ID
        assert trace.span_id != SPAN_ID
        assert (trace.span is not None) == (flags != "00" if trusted else base is ALL)


def test_so_many_traces_a_second_are_kept(provider: TracerProvider) -> None:
    """By default twenty of a burst are kept in each process, and all the others have ids, too."""
    traces = RequestTraces(provider.get_tracer("test"), Telemetry(otlp_endpoint=ENDPOINT))
    begun = [traces.begin("GET", "") for _ in range(500)]
    assert 20 <= sum(trace.span is not None for trace in begun) <= 25
    assert all(is_sound(trace) for trace in begun)
    assert len({trace.trace_id for trace in begun}) == 500
    assert traces.allowance.left_out >= 475


def test_without_an_endpoint_nothing_is_kept(provider: TracerProvider) -> None:
    """An empty endpoint keeps a caller's trace id for the logs and for the worker, unsampled."""
    traces = RequestTraces(provider.get_tracer("test"), Telemetry(otlp_endpoint="", sample_ratio=1.0))
    for traceparent in ("", PARENT, UNSAMPLED):
        trace = traces.begin("GET", traceparent, "a=b")
        assert trace.span is None
        assert trace.traceparent.endswith("-00")
    assert trace.trace_id == TRACE_ID
    assert trace.state == "a=b"


def test_a_kept_span_continues_the_callers(all_kept: RequestTraces, exporter: InMemorySpanExporter) -> None:
    """Its parent is the caller's span, and what is started under it belongs to it."""
    trace = all_kept.begin("POST", PARENT, "a=b")
    assert trace.span is not None
    trace.span.end()
    span = exporter.get_finished_spans()[-1]
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == SPAN_ID
    assert span.parent.is_remote


@pytest.mark.parametrize("state", ["", "a=b", "k=" + "v" * 510])
def test_a_good_tracestate_goes_on(all_kept: RequestTraces, state: str) -> None:
    """It is handed on as it came."""
    assert all_kept.begin("GET", PARENT, state).state == state


def test_processes_that_are_forked_draw_other_ids(provider: TracerProvider) -> None:
    """A worker that gunicorn forks anew repeats no id of the one before, although the generators were made earlier."""
    traces = RequestTraces(provider.get_tracer("test"), NONE)

    def draw(end: Connection) -> None:
        end.send((traces.begin("GET", "").trace_id, request_id_from("")))

    fork = multiprocessing.get_context("fork")
    drawn = []
    for _ in range(3):
        ours, theirs = fork.Pipe()
        child = fork.Process(target=draw, args=(theirs,))
        child.start()
        drawn += ours.recv()
        child.join()
    assert len(set(drawn)) == 6
