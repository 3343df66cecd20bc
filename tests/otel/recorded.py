"""A recorder whose spans stay in memory."""

from __future__ import annotations

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel.recorder import Recorder


def recorder_to(spans: InMemorySpanExporter) -> Recorder:
    """Return a recorder of a service `test` that keeps its spans there."""
    resource = Resource.create({"service.name": "test", "service.instance.id": "one"})
    return Recorder(lambda span: spans.export((span,)), resource, InstrumentationScope("test"))
