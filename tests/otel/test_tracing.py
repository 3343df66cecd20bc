"""Spans leave in the background, bounded and counted, and tracing never holds up the program that it observes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from inference_core.settings import Telemetry
from otel import tracing
from otel.recorder import Place, Times, Told
from otel.tracing import Tracing
from tests.otel.collector import Collector
from tests.waiting import wait_for

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
NOBODY = "http://127.0.0.1:1"
PLACE, MOMENT = Place(TRACE_ID, SPAN_ID), Times(1, 2)

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


class Counted:
    """Tracing towards an endpoint, and its counts."""

    def __init__(self, endpoint: str, seconds: float = 2.0, **attributes: int) -> None:
        self._registry = CollectorRegistry()
        spans = Counter("spans", "x", ("outcome",), registry=self._registry)
        settings = Telemetry(otlp_endpoint=endpoint, export_timeout=seconds)
        self.tracing: Tracing = tracing.start(settings, "worker", "1.2", spans, attributes)

    def record(self, name: str = "work") -> None:
        """Record a span."""
        self.tracing.recorder.record(PLACE, Told(name), MOMENT, {})

    def number(self, outcome: str) -> float:
        """Return how many spans ended so."""
        return self._registry.get_sample_value("spans_total", {"outcome": outcome}) or 0.0


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Run a collector."""
    running = Collector()
    yield running
    running.close()


def test_spans_arrive_with_what_finds_them(collector: Collector) -> None:
    """A span reaches an OTLP endpoint by the time of the stop, with service, namespace, version, pid and slot."""
    counted = Counted(collector.endpoint, **{"app.slot": 3})
    counted.record()
    counted.tracing.stop()
    ((resource_spans,),) = (request.resource_spans for request in collector.requests)
    attributes = {item.key: item.value for item in resource_spans.resource.attributes}
    assert attributes["service.name"].string_value == "worker"
    assert attributes["service.namespace"].string_value == "inference-hub"
    assert attributes["service.version"].string_value == "1.2"
    assert attributes["app.slot"].int_value == 3
    assert attributes["process.pid"].int_value > 1
    assert [span.name for scope in resource_spans.scope_spans for span in scope.spans] == ["work"]
    assert counted.number("exported") == 1


def test_without_an_endpoint_nothing_leaves() -> None:
    """An empty endpoint takes spans and has no thread and nothing to stop."""
    others = threading.enumerate()
    counted = Counted("")
    counted.record()
    counted.tracing.stop()
    assert [thread.name for thread in threading.enumerate() if thread not in others] == []
    assert counted.number("exported") == 0


def test_recording_waits_for_no_export(collector: Collector) -> None:
    """While an export hangs, more spans than the queue holds can be recorded; those that made room are counted."""
    collector.open.clear()
    counted = Counted(collector.endpoint, 60.0)
    counted.record("first")
    wait_for(lambda: collector.requests, "the first export")
    for _ in range(2 * tracing.QUEUE_SPANS):
        counted.record("later")
    assert len(collector.requests) == 1
    collector.open.set()
    counted.tracing.processor.shutdown()
    assert len(collector.spans()) == 1 + tracing.QUEUE_SPANS
    assert counted.number("exported") == 1 + tracing.QUEUE_SPANS
    assert counted.number("dropped") == tracing.QUEUE_SPANS


def test_stopping_leaves_an_export_that_hangs(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping returns after its bound although the last export still hangs."""
    monkeypatch.setattr(tracing, "STOP_SECONDS", 0.1)
    collector.open.clear()
    others = threading.enumerate()
    counted = Counted(collector.endpoint, 60.0)
    counted.record()
    counted.tracing.stop()
    ours = [thread.name for thread in threading.enumerate() if thread not in others]
    assert "OtelBatchSpanRecordProcessor" in ours


def test_spans_that_nobody_takes_are_counted() -> None:
    """Stopping ends by itself where nobody listens: the exporter gives up after its timeout, and counts the loss."""
    counted = Counted(NOBODY, 0.1)
    counted.record()
    started = time.monotonic()
    counted.tracing.stop()
    assert time.monotonic() - started < tracing.STOP_SECONDS + 5
    wait_for(lambda: counted.number("lost") == 1, "the count")


def test_spans_that_cannot_be_encoded_are_counted_as_lost(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody foresaw costs the spans of one export, and no count."""

    def unforeseen(_: object) -> None:
        raise ValueError("no such kind of value")

    monkeypatch.setattr(tracing, "encoded", unforeseen)
    counted = Counted(collector.endpoint)
    counted.record()
    counted.tracing.stop()
    assert (counted.number("lost"), counted.number("exported"), collector.requests) == (1, 0, [])
