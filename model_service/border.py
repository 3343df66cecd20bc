"""The worker's border: ids and trace context in, errors out as gRPC status (one table).

Our handlers are wrapped once, where generated code registers them; an interceptor would wrap them anew for each call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc import StatusCode

from inference_core import errors
from inference_core.metadata import carried
from inference_core.names import INFER, SERVICE
from inference_core.raw_messages import LARGE_BYTES, read_request, response_bytes
from model_service.call import CURRENT, Call
from model_service.isolation import FINGERPRINT
from model_service.observation import Observer
from otel.logs import SUBJECT

STATUS: Mapping[type[errors.InferenceHubError], StatusCode] = {
    errors.InvalidInput: StatusCode.INVALID_ARGUMENT,
    errors.UnknownModel: StatusCode.NOT_FOUND,
    errors.Unavailable: StatusCode.UNAVAILABLE,
    errors.Overloaded: StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: StatusCode.DEADLINE_EXCEEDED,
    errors.ClientLeft: StatusCode.CANCELLED,
    errors.ModelFailed: StatusCode.INTERNAL,
    errors.ConfigurationError: StatusCode.INTERNAL,
}
"""Nearest class in an error's ancestry decides."""

PROBES = {f"{SERVICE}/{probe}" for probe in ("ServerLive", "ServerReady", "ModelReady", "RepositoryIndex")}
"""Asked every second by gateways and people; they raise nothing, and their traces would drown the others."""

QUIET = {f"{SERVICE}/ModelConfig"}
"""Asked every second by gateways as well; only their failures are worth a line or a span."""

NO_RETRY = ("grpc-retry-pushback-ms", "-1")
"""Tells a client's retry policy that its own repeats would only add to the load."""

REASON = "reason"
REQUEST_ID, TRACEPARENT, TRACESTATE, ALONE = "x-request-id", "traceparent", "tracestate", "alone"
TRANSIT_SECONDS = 0.1

log = structlog.get_logger()
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


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


def observed(server: grpc.aio.Server, observer: Observer) -> grpc.aio.Server:
    """Return what generated code takes for the server when it registers handlers that are to be observed."""
    return cast("grpc.aio.Server", Border(server, observer))


class Border:
    """Stands before a server while services are registered; what it registers is observed, but for probes."""

    def __init__(self, server: grpc.aio.Server, observer: Observer) -> None:
        self._server = server
        self._observer = observer

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """Do nothing: generated code gives the same handlers to the other method, by name."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Register a service's handlers."""
        observed = {
            name: handler if f"{service_name}/{name}" in PROBES else self._observed(f"{service_name}/{name}", handler)
            for name, handler in method_handlers.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service_name, observed),))
        self._server.add_registered_method_handlers(service_name, observed)

    def _observed(self, method: str, handler: Handler) -> Handler:
        answer = cast("Callable[[Any, Context], Awaitable[Any]]", handler.unary_unary)
        decode = cast("Callable[[bytes], Any]", handler.request_deserializer)
        encode = cast("Callable[[Any], bytes]", handler.response_serializer)
        observer = self._observer

        async def observed(request: bytes, context: Context) -> Any:
            offered_id, traceparent, tracestate, alone = _carried(context)
            call = observer.begin(method, offered_id, traceparent, tracestate)
            # Only who may open the slot's own socket, as a gateway does, may hold the others back.
            if alone and FINGERPRINT.fullmatch(alone) and context.peer().startswith("unix"):
                call.fingerprint = alone
            CURRENT.set(call)
            SUBJECT.set(call.describe)
            try:
                message = _decoded(decode, request, call)
                del request
                response = await answer(message, context)
            except BaseException as error:
                status = _status(error, context)
                observer.end(call, status, error)
                if isinstance(error, asyncio.CancelledError):
                    raise
                errors.let_go(error)
                request, message, call.raw = b"", None, None  # noqa: F841  # this frame outlives the call, too
                await _abort(context, status, error, call)
            else:
                outputs, call.outputs = call.outputs, None  # whoever tells of the call later holds none of its tensors
                if method not in QUIET:
                    observer.end(call, StatusCode.OK, None)
                return encode(response) if outputs is None else response_bytes(response, outputs)

        # Without a deserializer the message arrives here as bytes, and one that is broken is refused like the rest.
        return grpc.unary_unary_rpc_method_handler(observed)


def _decoded(decode: Callable[[bytes], Any], request: bytes, call: Call) -> Any:
    try:
        if call.method != INFER or len(request) < LARGE_BYTES:
            return decode(request)
        message, call.raw = read_request(request)
    except DecodeError as error:
        raise errors.InvalidInput("The message is not the protobuf message that this method takes.") from error
    return message


def _status(error: BaseException, context: Context) -> StatusCode:
    if isinstance(error, asyncio.CancelledError):
        return status_of_cancellation(context.time_remaining())
    return status_of(error)


async def _abort(context: Context, status: StatusCode, error: BaseException, call: Call) -> None:
    if isinstance(error, errors.Overloaded):
        await context.abort(status, error.message, (NO_RETRY, (REASON, error.reason)))
    if isinstance(error, errors.WrongSignature):
        await context.abort(status, error.message, ((REASON, error.reason),))
    if isinstance(error, errors.InferenceHubError):
        await context.abort(status, error.message)
    trace_id = call.trace.trace_id
    await context.abort(status, f"Unexpected error in the worker; its log has the details under trace {trace_id}.")


def _carried(context: Context) -> tuple[str, str, str, str]:
    pairs = cast("tuple[tuple[str, str], ...] | None", context.invocation_metadata()) or ()
    found = dict(pairs)
    if len(found) < len(pairs):  # `carried` is slower, and gateways repeat nothing
        found = carried(pairs, (REQUEST_ID, TRACEPARENT, TRACESTATE, ALONE))
    get = found.get
    return get(REQUEST_ID, ""), get(TRACEPARENT, ""), get(TRACESTATE, ""), get(ALONE, "")
