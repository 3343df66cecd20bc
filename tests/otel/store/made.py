"""Traces as the programs send them, made for tests, and a store that runs in the test's own process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, TracesData
from prometheus_client import CollectorRegistry

from inference_core.settings import TraceStore
from otel.metrics import StoreMetrics
from otel.store.inbox import Inbox
from otel.store.query import StoredTraces
from otel.store.writer import Writer
from tests.waiting import wait_for

BEGAN = 1_700_000_000 * 10**9
MILLISECOND = 10**6
GATEWAY, WORKER = "gateway", "inference-worker"
Attributes = Mapping[str, str | int]


def trace_id(number: int) -> bytes:
    """Return the id of the trace of that number, from 1."""
    return number.to_bytes(16, "big")


def span(name: str, number: int, *, at: float = 0, ms: float = 1, parent: int = 0, **more: object) -> Span:
    """Return a span of a trace that begins `at` and lasts `ms` milliseconds; `more` is kind, status, attributes."""
    attributes: Attributes = more.get("attributes", {})  # type: ignore[assignment]  # as the test gave it
    made = Span(
        name=name,
        trace_id=trace_id(number),
        span_id=abs(hash((name, number, at))).to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        start_time_unix_nano=BEGAN + round(at * MILLISECOND),
        end_time_unix_nano=BEGAN + round((at + ms) * MILLISECOND),
        kind=more.get("kind", Span.SPAN_KIND_INTERNAL),  # type: ignore[arg-type]  # as the test gave it
        attributes=[KeyValue(key=key, value=_value(value)) for key, value in attributes.items()],
    )
    made.status.code = more.get("code", 0)  # type: ignore[assignment]  # as the test gave it
    return made


def _value(value: str | int) -> AnyValue:
    return AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)


def sent_by(service: str, *spans: Span) -> ResourceSpans:
    """Return spans as a program of that name sends them."""
    resource = ResourceSpans()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    resource.scope_spans.add(spans=spans)
    return resource


def request(
    number: int, *, status: int = 200, ms: float = 10, model: str = "m", kept: str = "rate"
) -> list[ResourceSpans]:
    """Return a request's spans by both programs: 2 ms of queue, and compute for half of what is left."""
    entry = {"http.response.status_code": status, "app.request.id": f"request-{number}", "app.kept": kept}
    about = {"app.model.name": model, "app.model.version": "1"}
    batch = {"app.batch.reason": "idle", "app.batch.rows": 4}
    at = float(number)
    gateway = sent_by(
        GATEWAY,
        span("POST /predict", number, at=at, ms=ms, kind=Span.SPAN_KIND_SERVER, attributes={**entry, **about},
             code=2 if status >= 500 else 0),
        span("queue", number, at=at, ms=2, parent=1),
        span("call", number, at=at + 2, ms=ms - 2, parent=1, kind=Span.SPAN_KIND_CLIENT, attributes=batch),
    )  # fmt: skip
    worker = sent_by(
        WORKER,
        span("call", number, at=at + 2.5, ms=ms - 3, parent=2, kind=Span.SPAN_KIND_SERVER,
             attributes={**about, "rpc.response.status_code": "OK"}),
        span("compute", number, at=at + 3, ms=(ms - 2) / 2, parent=3, attributes={**about, **batch}),
    )  # fmt: skip
    return [gateway, worker]


def export(*resources: ResourceSpans) -> ExportTraceServiceRequest:
    """Return what an exporter sends."""
    return ExportTraceServiceRequest(resource_spans=resources)


def spans_of(traces: TracesData) -> list[Span]:
    """Return all spans."""
    return [span for resource in traces.resource_spans for scope in resource.scope_spans for span in scope.spans]


@dataclass
class Store:
    """A writer in a thread, what it writes, and its numbers."""

    file: Path
    inbox: Inbox
    writer: Writer
    registry: CollectorRegistry

    @property
    def traces(self) -> StoredTraces:
        """What is stored."""
        return StoredTraces(self.file)

    def number(self, name: str, **labels: str) -> float:
        """Return a metric's value."""
        return self.registry.get_sample_value(f"inferencehub_tracestore_{name}", labels) or 0.0

    def put(self, *resources: ResourceSpans) -> None:
        """Have spans stored that arrive together, and wait until they are written or dropped."""
        self.put_all([resources])

    def put_all(self, arrivals: Sequence[Sequence[ResourceSpans]]) -> None:
        """As `put`, of spans that arrive one after the other."""
        done = self._done() + sum(len(spans_of(TracesData(resource_spans=resources))) for resources in arrivals)
        assert all(self.inbox.offer(export(*resources)) for resources in arrivals)
        wait_for(lambda: self._done() >= done, "writing", interval=0.005)

    def _done(self) -> float:
        reasons = ("overrun", "disk", "malformed", "large", "unexpected")
        dropped = sum(self.number("spans_dropped_total", reason=reason) for reason in reasons)
        return self.number("spans_stored_total") + dropped


@contextmanager
def store(folder: Path, clock: object = None, **settings: float) -> Iterator[Store]:
    """Run a store in a folder; `settings` are those of the section."""
    registry = CollectorRegistry()
    inbox = Inbox(32 * 1024 * 1024)
    section = TraceStore(**settings)  # type: ignore[arg-type]  # as the test gave it
    more = {} if clock is None else {"clock": clock}
    file = folder / "traces.sqlite"
    writer = Writer(file, section, inbox, StoreMetrics(registry), **more)  # type: ignore[arg-type]  # a fake clock
    writer.start()
    try:
        yield Store(file, inbox, writer, registry)
    finally:
        inbox.close()
        writer.join(10)
        assert not writer.is_alive()
