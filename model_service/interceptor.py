"""The worker's border: trace context and log context in, errors out as gRPC status (one table)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc import StatusCode
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Tracer

from inference_core import errors
from inference_core.names import request_id_from
from otel import tracing

STATUS: Mapping[type[errors.InferenceHubError], StatusCode] = {
    errors.InvalidInput: StatusCode.INVALID_ARGUMENT,
    errors.UnknownModel: StatusCode.NOT_FOUND,
    errors.Unavailable: StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: StatusCode.DEADLINE_EXCEEDED,
    errors.ModelFailed: StatusCode.INTERNAL,
    errors.ConfigurationError: StatusCode.INTERNAL,
}
"""Nearest class in an error's ancestry decides."""

FAILURES = {
    StatusCode.UNKNOWN,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.UNIMPLEMENTED,
    StatusCode.INTERNAL,
    StatusCode.UNAVAILABLE,
    StatusCode.DATA_LOSS,
}
"""The statuses that mark a server span as failed (semantic conventions, RPC spans)."""

OURS = ("/inference.GRPCInferenceService/", "/ModelInference/")
PROBES = {f"{OURS[0]}{probe}" for probe in ("ServerLive", "ServerReady", "ModelReady", "RepositoryIndex", "ModelConfig")}
"""Asked every second by gateways and people; they raise nothing, and their traces would drown the others."""

REQUEST_ID = "x-request-id"
TRANSIT_SECONDS = 0.1

log = structlog.get_logger()
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Method: TypeAlias = Callable[[Any, Context], Awaitable[Any]]


def status_of(error: BaseException) -> StatusCode:
    """Return the gRPC status of an error that ended a call."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return StatusCode.INTERNAL


def status_of_cancellation(remaining: float | None) -> StatusCode:
    """Return why gRPC cancelled a handler, from the seconds that its deadline had left (None: it had no deadline)."""
    # A client whose own timer fires cancels the call, and here its deadline lies later by the way of the request.
    in_time = remaining is None or remaining > TRANSIT_SECONDS
    return StatusCode.CANCELLED if in_time else StatusCode.DEADLINE_EXCEEDED


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Gives every call a server span and one log line; probes, health and reflection pass untouched."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handlers of our services (gRPC calls this for each call)."""
        handler = await continuation(handler_call_details)
        path = handler_call_details.method
        if handler is None or path in PROBES or not path.startswith(OURS):
            return handler
        # Without a deserializer the message arrives here as bytes, and one that is broken is refused like the rest.
        return grpc.unary_unary_rpc_method_handler(
            self._wrapped(path.removeprefix("/"), _decoding(handler)), None, handler.response_serializer
        )

    def _wrapped(self, name: str, method: Method) -> Method:
        async def call(request: bytes, context: Context) -> Any:
            metadata = _metadata(context)
            parent = tracing.context_from(metadata)
            span = tracing.start_rpc_span(self._tracer, SpanKind.SERVER, name, parent)
            token = otel_context.attach(trace.set_span_in_context(span, parent))
            structlog.contextvars.clear_contextvars()
            structlog.contextvars.bind_contextvars(request_id=request_id_from(metadata.get(REQUEST_ID, "")))
            try:
                return await _observed(name, method, request, context, span)
            finally:
                otel_context.detach(token)

        return call


def _decoding(handler: grpc.RpcMethodHandler[Any, Any]) -> Method:
    method, decode = cast("Method", handler.unary_unary), cast("Callable[[bytes], Any]", handler.request_deserializer)

    async def call(request: bytes, context: Context) -> Any:
        try:
            message = decode(request)
        except DecodeError as error:
            raise errors.InvalidInput("The message is not the protobuf message that this method takes.") from error
        return await method(message, context)

    return call


async def _observed(name: str, method: Method, request: bytes, context: Context, span: Span) -> Any:
    started = time.perf_counter()
    status, error = StatusCode.OK, None
    try:
        return await method(request, context)
    except BaseException as raised:
        status, error = status_of(raised), raised
        if isinstance(raised, asyncio.CancelledError):
            status = status_of_cancellation(context.time_remaining())
            raise
        await context.abort(status, _sentence(raised, span))
    finally:
        tracing.end_rpc_span(span, status.name, status.value[0], failed=status in FAILURES)
        milliseconds = round((time.perf_counter() - started) * 1000, 3)
        log.info("call", method=name, status=status.name, milliseconds=milliseconds, **_reason(error))


def _sentence(error: BaseException, span: Span) -> str:
    if isinstance(error, errors.InferenceHubError):
        return error.message
    log.error("unexpected error", exc_info=error)
    return f"Unexpected error in the worker; its log has the details under trace {tracing.trace_id_of(span)}."


def _reason(error: BaseException | None) -> dict[str, str]:
    return {"error": error.message} if isinstance(error, errors.InferenceHubError) else {}


def _metadata(context: Context) -> dict[str, str]:
    # The stubs promise metadata for every call; grpc.aio gives None where the client sent none.
    pairs = cast("Iterable[tuple[str, str | bytes]] | None", context.invocation_metadata()) or ()
    joined: dict[str, str] = {}
    for key, value in pairs:
        if isinstance(value, str):
            # As RFC 9110 joins repeated fields: of two request ids, neither is then believed.
            joined[key] = f"{joined[key]},{value}" if key in joined else value
    return joined
