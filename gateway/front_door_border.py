"""The border of the gRPC door: ids and trace context in, errors out as gRPC status (one table), each call observed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError
from grpc import StatusCode

from gateway.call import Call
from gateway.errors import V2_STATUS, unexpected_sentence
from gateway.errors import status_of as http_status_of
from gateway.observation import Observed, Observer
from inference_core import errors
from inference_core.deadline import Deadline
from inference_core.metadata import carried
from inference_core.settings import Traffic

STATUS: Mapping[type[errors.InferenceHubError], StatusCode] = {
    errors.InvalidInput: StatusCode.INVALID_ARGUMENT,
    errors.InputTooLarge: StatusCode.RESOURCE_EXHAUSTED,
    errors.NotOffered: StatusCode.UNIMPLEMENTED,
    errors.UnknownModel: StatusCode.NOT_FOUND,
    errors.Unavailable: StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: StatusCode.DEADLINE_EXCEEDED,
    errors.ClientLeft: StatusCode.CANCELLED,
    errors.ModelFailed: StatusCode.INTERNAL,
    errors.ConfigurationError: StatusCode.INTERNAL,
}
"""Nearest class in an error's ancestry decides. As Triton has it, a full queue is UNAVAILABLE."""

METHOD = "gRPC"
OK, CLIENT_LEFT, UNEXPECTED = 200, 499, 500
"""What the statuses of gRPC are in log and metrics, beside those of HTTP."""

REQUEST_ID, TRACEPARENT, TRACESTATE = "x-request-id", "traceparent", "tracestate"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Codec = tuple[Callable[[bytes], Any], Callable[[Any], bytes]]


class Visit:
    """One call while it is answered: what was begun of it, and the prediction, if it is one."""

    __slots__ = ("_key", "_wanted", "call", "observed")

    def __init__(self, observed: Observed, key: str, wanted: str) -> None:
        self.observed = observed
        self._key = key
        self._wanted = wanted
        self.call: Call | None = None

    def predict(self, deadline: Deadline) -> Call:
        """Note that the call is a prediction."""
        self.call = Call(deadline, self.observed.request_id, self.observed.trace, key=self._key, wanted=self._wanted)
        return self.call

    def told(self) -> tuple[tuple[str, str], ...]:
        """Return what the caller is told of arm and cache, as metadata."""
        return () if self.call is None else tuple([(name.lower(), value) for name, value in self.call.told()])


CURRENT: ContextVar[Visit] = ContextVar("visit")
"""The call that this task answers."""


def status_of(error: errors.InferenceHubError) -> StatusCode:
    """Return the gRPC status of an expected error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


class Border:
    """Stands before a server while a service is registered, so that its handlers are wrapped once.

    `codecs` has for a method what reads its requests and writes its responses, where that is not generated code.
    """

    def __init__(
        self, server: grpc.aio.Server, observer: Observer, traffic: Traffic, codecs: Mapping[str, Codec]
    ) -> None:
        self._server = server
        self._chosen = (traffic.user_header.lower(), traffic.version_header.lower())
        self._observer = observer
        self._codecs = codecs

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """Do nothing: generated code gives the same handlers to the other method, by name."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Register a service's handlers."""
        observed = {
            name: self._observed(f"{service_name}/{name}", handler) for name, handler in method_handlers.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service_name, observed),))
        self._server.add_registered_method_handlers(service_name, observed)

    def _observed(self, method: str, handler: Handler) -> Handler:
        answer = cast("Callable[[Any, Context], Awaitable[Any]]", handler.unary_unary)
        generated = cast("Codec", (handler.request_deserializer, handler.response_serializer))
        decode, encode = self._codecs.get(method, generated)

        async def observed(request: bytes, context: Context) -> Any:
            visit = self._begin(context)
            CURRENT.set(visit)
            try:
                message = _decoded(decode, request)
                del request
                response = await answer(message, context)
            except asyncio.CancelledError:
                self._end(method, visit, CLIENT_LEFT)
                raise
            except Exception as error:  # noqa: BLE001  # the border: whatever it is, the client gets a status
                if not isinstance(error, errors.InferenceHubError):
                    self._observer.unexpected(visit.observed, error)
                errors.let_go(error)
                request, message = b"", None  # noqa: F841  # this frame outlives the call, too
                await self._refuse(method, visit, error, context)
            else:
                self._end(method, visit, OK)
                context.set_trailing_metadata(visit.told())
                return response

        return grpc.unary_unary_rpc_method_handler(observed, None, encode)

    def _begin(self, context: Context) -> Visit:
        fields = cast("Iterable[tuple[str, str]] | None", context.invocation_metadata())
        found = carried(fields, (REQUEST_ID, TRACEPARENT, TRACESTATE, *self._chosen))
        observed = self._observer.begin(METHOD, found[REQUEST_ID], found[TRACEPARENT], found[TRACESTATE])
        return Visit(observed, *(found[name] for name in self._chosen))

    async def _refuse(self, method: str, visit: Visit, error: Exception, context: Context) -> None:
        if not isinstance(error, errors.InferenceHubError):
            self._end(method, visit, UNEXPECTED)
            await context.abort(StatusCode.INTERNAL, unexpected_sentence(visit.observed.trace.trace_id))
        self._end(method, visit, http_status_of(error, V2_STATUS), error)
        await context.abort(status_of(error), error.message, visit.told())

    def _end(self, method: str, visit: Visit, status: int, error: errors.InferenceHubError | None = None) -> None:
        self._observer.end(visit.observed, method, status, visit.call, error)


def _decoded(decode: Callable[[bytes], Any], request: bytes) -> Any:
    try:
        return decode(request)
    except DecodeError as error:
        raise errors.InvalidInput("The message is not the protobuf message that this method takes.") from error
