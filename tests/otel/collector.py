"""An OTLP collector whose patience a test decides."""

from __future__ import annotations

import threading
from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(TraceServiceServicer):
    """Keeps the OTLP requests that it gets; while it is not `open`, it takes them and does not answer.

    Each answer takes it `seconds`. A `port` of 0 is any that is free.
    """

    def __init__(self, port: int = 0, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self.requests: list[ExportTraceServiceRequest] = []
        self.open = threading.Event()
        self.open.set()
        self._server = grpc.server(futures.ThreadPoolExecutor(1))
        add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]  # generated code
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        self._server.start()

    def Export(  # noqa: N802  # the name is the protocol's
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        """Keep a request."""
        self.requests.append(request)
        self.open.wait()
        threading.Event().wait(self._seconds)
        return ExportTraceServiceResponse()

    def spans(self) -> list[Span]:
        """Return the spans of all requests."""
        resources = [resource for request in self.requests for resource in request.resource_spans]
        return [span for resource in resources for scope in resource.scope_spans for span in scope.spans]

    def close(self) -> None:
        """Answer what waits, and stop."""
        self.open.set()
        self._server.stop(0).wait()
