"""Around every request: id, trace context, clock, one log line; and around the process: connections and tracing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import structlog
from falcon.asgi import Request, Response
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from gateway.workers import Workers
from inference_core.names import request_id_from
from otel import tracing

REQUEST_ID = "X-Request-Id"
TRACE_ID = "X-Trace-Id"
SERVER_ERROR = 500
LONGEST_TRACESTATE = 512
"""Bytes that W3C Trace Context asks to support; much more would outgrow the metadata of a gRPC call."""

log = structlog.get_logger()


class Observation:
    """Gives every request an id, a server span and one log line, and every answer the two ids."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    async def process_request(self, request: Request, _: Response) -> None:
        """Start clock, span and log context."""
        context = request.context
        context.started = time.perf_counter()
        context.request_id = request_id_from(request.get_header(REQUEST_ID) or "")
        parent = tracing.context_from(_carrier(request))
        context.span = self._tracer.start_span(request.method, parent, SpanKind.SERVER, _attributes(request))
        context.trace_id = tracing.trace_id_of(context.span)
        context.token = otel_context.attach(trace.set_span_in_context(context.span, parent))
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=context.request_id)

    async def process_response(self, request: Request, response: Response, _: object, __: bool) -> None:  # noqa: FBT001 - Falcon's signature
        """Put the ids on the answer, end the span, write the line."""
        context = request.context
        response.set_header(REQUEST_ID, context.request_id)
        response.set_header(TRACE_ID, context.trace_id)
        route = request.uri_template or "(none)"
        _end(context.span, f"{request.method} {route}", route, context.request_id, response.status_code)
        milliseconds = round((time.perf_counter() - context.started) * 1000, 3)
        log.info("request", method=request.method, route=route, status=response.status_code, milliseconds=milliseconds)
        otel_context.detach(context.token)


class Life:
    """Opens what needs the running loop when the process starts to serve, and closes it when it ends."""

    def __init__(self, workers: Workers, traces: tracing.Tracing) -> None:
        self._workers = workers
        self._traces = traces

    async def process_startup(self, _: Mapping[str, Any], __: Mapping[str, Any]) -> None:
        """Connect to the workers; none needs to be there yet."""
        self._workers.connect()
        log.info("serving", workers=len(self._workers))

    async def process_shutdown(self, _: Mapping[str, Any], __: Mapping[str, Any]) -> None:
        """Close the connections, then flush the spans within a bounded time."""
        await self._workers.close()
        self._traces.stop()
        log.info("stopped")


def _carrier(request: Request) -> dict[str, str]:
    names = ("traceparent", "tracestate")
    carrier = {name: value for name in names if (value := request.get_header(name))}
    if len(carrier.get("tracestate", "")) > LONGEST_TRACESTATE:
        del carrier["tracestate"]
    return carrier


def _attributes(request: Request) -> dict[str, Any]:
    return {
        "http.request.method": request.method,
        "url.path": request.path[:256],
        "url.scheme": request.scheme,
        "server.address": request.host,
        "client.address": request.remote_addr,
    }


def _end(span: Span, name: str, route: str, request_id: str, status: int) -> None:
    span.update_name(name)
    span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("app.request.id", request_id)
    if status >= SERVER_ERROR:
        span.set_attribute("error.type", str(status))
        span.set_status(Status(StatusCode.ERROR))
    span.end()
