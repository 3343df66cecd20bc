"""Stored or exported traces, sent to any OTLP collector: this store, Jaeger, another machine's."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from inference_core.errors import NoWorker
from otel.store.pieces import count

SECONDS = 10.0
REQUEST_BYTES = 1024 * 1024
"""Well below the 4 MiB that gRPC servers take by default."""


def send(traces: TracesData, endpoint: str) -> int:
    """Send traces to `http://host:port` or `host:port` over gRPC without TLS, and return how many spans were taken.

    Raises Unavailable where nobody takes them, or not all of them.
    """
    target = endpoint.removeprefix("http://").rstrip("/")
    taken, whole = 0, count(traces.resource_spans)
    with grpc.insecure_channel(target) as channel:
        stub = TraceServiceStub(channel)  # type: ignore[no-untyped-call]  # generated code
        for request in _requests(traces):
            try:
                response = stub.Export(request, timeout=SECONDS)
            except grpc.RpcError as error:
                part = f"took {taken} of {whole} spans and then no more" if taken else "takes no traces"
                raise NoWorker(f"{endpoint} {part} ({error.code().name}: {error.details()}).") from error
            taken += count(request.resource_spans) - response.partial_success.rejected_spans
    return taken


def _requests(traces: TracesData) -> Iterator[ExportTraceServiceRequest]:
    request = ExportTraceServiceRequest()
    for resource in traces.resource_spans:
        if request.resource_spans and request.ByteSize() + resource.ByteSize() > REQUEST_BYTES:
            yield request
            request = ExportTraceServiceRequest()
        request.resource_spans.append(resource)
    if request.resource_spans:
        yield request
