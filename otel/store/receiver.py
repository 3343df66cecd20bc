"""The OTLP door: TraceService over gRPC, on loopback alone.

Source: opentelemetry-proto, trace_service.proto, and the OTLP specification on partial success.
"""

from __future__ import annotations

from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from inference_core.errors import ConfigurationError
from otel.metrics import StoreMetrics
from otel.store.inbox import Inbox
from otel.store.pieces import count

HOST = "127.0.0.1"
THREADS = 2
MESSAGE_BYTES = 16 * 1024 * 1024
MOST_CALLS = 64
FULL = "The trace store is overrun; these spans were dropped."


class Receiver(TraceServiceServicer):
    """Puts exports into the inbox; what does not fit is refused for good, for repeats would only add to the load."""

    def __init__(self, inbox: Inbox, metrics: StoreMetrics) -> None:
        self._inbox = inbox
        self._metrics = metrics

    def Export(  # noqa: N802  # the name is the protocol's
        self, request: ExportTraceServiceRequest, _: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        """Take the spans of an export, or say how many were refused."""
        response = ExportTraceServiceResponse()
        if not self._inbox.offer(request):
            refused = count(request.resource_spans)
            self._metrics.dropped("overrun", refused)
            response.partial_success.rejected_spans = refused
            response.partial_success.error_message = FULL
        return response


def listening(receiver: Receiver, port: int) -> grpc.Server:
    """Return a server that takes exports at a port of loopback; raises ConfigurationError where that is taken."""
    options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MESSAGE_BYTES)]
    server = grpc.server(futures.ThreadPoolExecutor(THREADS), options=options, maximum_concurrent_rpcs=MOST_CALLS)
    add_TraceServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]  # generated code
    checks = health.HealthServicer()
    checks.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    try:
        server.add_insecure_port(f"{HOST}:{port}")
    except RuntimeError as error:
        raise ConfigurationError(
            f"{HOST}:{port} cannot be used: Jaeger, another collector or another system's store has it "
            f"(ss -tlnp shows which). Stop that one, or set another tracestore.port."
        ) from error
    server.start()
    return server
