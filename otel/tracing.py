"""Spans and W3C trace context of one process.

Set up after a fork, inside the process that serves: an OTLP exporter's channel does not survive one. Attribute
names follow the OpenTelemetry semantic conventions 1.44 (RPC: release candidate) and, beside them, the older
`rpc.system` and `rpc.grpc.status_code` that people search Jaeger by today.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from inference_core.settings import Telemetry

NAMESPACE = "inference-hub"
SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
STOP_SECONDS = 3.0
QUEUE_SPANS = 4096
EXPORT_EVERY_MILLISECONDS = 500

TRACE_CONTEXT = TraceContextTextMapPropagator()
"""The only propagator: baggage from outside is dropped at the border."""


@dataclass(frozen=True, slots=True)
class Tracing:
    """The tracer of this process and the provider behind it."""

    tracer: Tracer
    provider: TracerProvider

    def stop(self) -> None:
        """Flush and stop within STOP_SECONDS, even when nobody listens at the endpoint."""
        # shutdown() takes no timeout and waits for an unreachable collector, so it gets a thread of its own.
        worker = threading.Thread(target=self.provider.shutdown, daemon=True)
        worker.start()
        worker.join(STOP_SECONDS)


def start(
    settings: Telemetry,
    service: str,
    version: str,
    attributes: Mapping[str, Any] | None = None,
    sampler: Sampler | None = None,
) -> Tracing:
    """Start tracing for a service (`gateway`, `inference-worker`); `attributes` describe this process further.

    Without a sampler, what arrives sampled stays so, and of the rest `sample_ratio`.
    """
    provider = TracerProvider(
        sampler=sampler or _sampler(settings),
        resource=_resource(service, version, attributes or {}),
        shutdown_on_exit=False,
    )
    for processor in _processors(settings):
        provider.add_span_processor(processor)
    return Tracing(provider.get_tracer(service, version, schema_url=SCHEMA), provider)


def context_from(carrier: Mapping[str, str]) -> Context:
    """Return the context of a `traceparent`, or an empty one where it is missing or malformed (W3C Trace Context)."""
    return TRACE_CONTEXT.extract(carrier, context=Context())


def metadata_of(span: Span) -> list[tuple[str, str]]:
    """Return the gRPC metadata that continues a span's trace in another process."""
    carrier: dict[str, str] = {}
    TRACE_CONTEXT.inject(carrier, context=trace.set_span_in_context(span))
    return list(carrier.items())


def trace_id_of(span: Span) -> str:
    """Return a span's trace id as 32 hex digits."""
    return f"{span.get_span_context().trace_id:032x}"


def start_rpc_span(
    tracer: Tracer, kind: SpanKind, method: str, context: Context | None = None, start_time: int | None = None
) -> Span:
    """Start the span of a gRPC call; `method` is `package.Service/Method` without a leading slash.

    `start_time` in nanoseconds since 1970 is for one that began earlier.
    """
    return tracer.start_span(method, context, kind, rpc_attributes(method), start_time=start_time)


def rpc_attributes(method: str) -> dict[str, str]:
    """Return the attributes that name a gRPC method, given as for `start_rpc_span`."""
    service, _, name = method.rpartition("/")
    return {
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.grpc.method": name,
    }


def end_rpc_span(span: Span, status: str, number: int, *, failed: bool, end_time: int | None = None) -> None:
    """End a call's span with its gRPC status, such as ("NOT_FOUND", 5); `end_time` as for `start_rpc_span`."""
    span.set_attribute("rpc.response.status_code", status)
    span.set_attribute("rpc.status_code", status)
    span.set_attribute("rpc.grpc.status_code", number)
    if failed:
        span.set_attribute("error.type", status)
        span.set_status(Status(StatusCode.ERROR, status))
    span.end(end_time)


def _sampler(settings: Telemetry) -> Sampler:
    if not settings.otlp_endpoint:
        return ALWAYS_OFF
    ratio = TraceIdRatioBased(settings.sample_ratio)
    if settings.trust_sampled_flag:
        return ParentBased(ratio)
    return ParentBased(ratio, remote_parent_sampled=ratio, remote_parent_not_sampled=ratio)


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


def _processors(settings: Telemetry) -> Sequence[SpanProcessor]:
    if not settings.otlp_endpoint:
        return ()
    exporter = OTLPSpanExporter(settings.otlp_endpoint, insecure=True, timeout=settings.export_timeout)
    return (
        BatchSpanProcessor(
            exporter,
            max_queue_size=QUEUE_SPANS,
            schedule_delay_millis=EXPORT_EVERY_MILLISECONDS,
            export_timeout_millis=settings.export_timeout * 1000,
        ),
    )
