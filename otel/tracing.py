"""The export of one process's spans: OTLP in the background, bounded in memory and in time, and counted.

Set up after a fork, inside the process that serves: an OTLP exporter's channel does not survive one.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Counter

from inference_core.settings import Telemetry
from otel.encoding import encoded
from otel.recorder import Recorder

NAMESPACE = "inference-hub"
SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
STOP_SECONDS = 3.0
QUEUE_SPANS = 4096
EXPORT_EVERY_MILLISECONDS = 1000


@dataclass(frozen=True, slots=True)
class Tracing:
    """What records this process's spans, and what exports them."""

    recorder: Recorder
    processor: SpanProcessor

    def stop(self) -> None:
        """Flush and stop within STOP_SECONDS, even when nobody listens at the endpoint."""
        # shutdown() waits for an unreachable collector, so it gets a thread of its own.
        worker = threading.Thread(target=self.processor.shutdown, daemon=True)
        worker.start()
        worker.join(STOP_SECONDS)


class Accounts:
    """What became of recorded spans, as counts of `spans` by outcome.

    "exported"; "lost", because nobody took them; "dropped", because so many waited that the oldest made room.
    """

    def __init__(self, spans: Counter) -> None:
        self._exported, self._lost, self._dropped = map(spans.labels, ("exported", "lost", "dropped"))
        self._recorded = self._left = self._counted_drops = 0

    def recorded(self) -> None:
        """Note a span that was handed over for export."""
        self._recorded += 1

    def left(self, spans: int, *, taken: bool) -> None:
        """Note spans that left the queue, and count those that had made room before: the queue tells nobody."""
        self._left += spans
        (self._exported if taken else self._lost).inc(spans)
        drops = self._recorded - self._left - QUEUE_SPANS
        if drops > self._counted_drops:
            self._dropped.inc(drops - self._counted_drops)
            self._counted_drops = drops


class Exporter(OTLPSpanExporter):
    """The SDK's exporter with our encoder."""

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        return encoded(data)


class CountingExporter(SpanExporter):
    """Tells accounts what another exporter did."""

    def __init__(self, exporter: SpanExporter, accounts: Accounts) -> None:
        self._exporter, self._accounts = exporter, accounts

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export, and count."""
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._accounts.left(len(spans), taken=result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        """Shut the other exporter down."""
        self._exporter.shutdown()


def start(
    settings: Telemetry,
    service: str,
    version: str,
    spans: Counter,
    attributes: Mapping[str, Any] | None = None,
) -> Tracing:
    """Start the export for a service (`gateway`, `inference-worker`); `attributes` describe this process further.

    `spans` counts spans by `outcome`. Without an endpoint there is no thread, and spans go nowhere.
    """
    resource = _resource(service, version, attributes or {})
    scope = InstrumentationScope(service, version, SCHEMA)
    if not settings.otlp_endpoint:
        return Tracing(Recorder(_nowhere, resource, scope), SpanProcessor())
    accounts = Accounts(spans)
    processor = _processor(settings, accounts)

    def sink(span: ReadableSpan) -> None:
        accounts.recorded()
        processor.on_end(span)

    return Tracing(Recorder(sink, resource, scope), processor)


def _nowhere(_: ReadableSpan) -> None:
    """Stand for the export where there is none."""


def _resource(service: str, version: str, attributes: Mapping[str, Any]) -> Resource:
    return Resource.create(
        {
            "service.name": service,
            "service.namespace": NAMESPACE,
            "service.version": version,
            "service.instance.id": str(uuid.uuid4()),
            "process.pid": os.getpid(),
            **attributes,
        }
    )


def _processor(settings: Telemetry, accounts: Accounts) -> SpanProcessor:
    exporter = Exporter(settings.otlp_endpoint, insecure=True, timeout=settings.export_timeout)
    return BatchSpanProcessor(
        CountingExporter(exporter, accounts),
        max_queue_size=QUEUE_SPANS,
        schedule_delay_millis=EXPORT_EVERY_MILLISECONDS,
        export_timeout_millis=settings.export_timeout * 1000,
    )
