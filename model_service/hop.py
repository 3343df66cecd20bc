"""The worker's end of the hop: gRPC's unary calls over the slot's second socket, in the event loop's own thread.

It stands where a grpc.aio.Server stands while services are registered, so both answer with the same handlers. Any gRPC
client may call it; what it does not have is streams, compression and TLS (docs/decisions/0017-hop.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import grpc
import structlog
from grpc import StatusCode

from inference_core.deadline import now
from inference_core.grpc_headers import (
    ENDED_WELL,
    PATH,
    RESPONSE_START,
    TIMEOUT,
    Fields,
    Reader,
    literals,
    timeout_seconds,
    trailers,
)
from inference_core.grpc_message import Incoming, Unacceptable, prefix
from inference_core.http2 import Connection
from inference_core.http2_frames import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    Code,
    ConnectionBroken,
    frame,
)

MOST_STREAMS = 1000
LOOK_SECONDS = 0.01
Pairs = tuple[tuple[str, str], ...]
log = structlog.get_logger()


class Aborted(Exception):
    """A handler ended its call with a status, as grpc.aio.AbortError says it."""

    def __init__(self, status: StatusCode, message: str, fields: Pairs) -> None:
        super().__init__(message)
        self.status, self.message, self.fields = status, message, fields


class HopContext:
    """What a handler may ask and tell of its call: the part of grpc.aio.ServicerContext that ours use."""

    __slots__ = ("_ends_at", "_fields", "trailing")

    def __init__(self, fields: Fields, timeout: str) -> None:
        self._fields = fields
        told = timeout_seconds(timeout)
        self._ends_at = None if told is None else now() + told
        self.trailing: Pairs = ()

    def invocation_metadata(self) -> Iterable[tuple[str, str]]:
        """Return the fields that came with the call."""
        return self._fields

    def time_remaining(self) -> float | None:
        """Return the seconds until the call's deadline, None where it has none."""
        return None if self._ends_at is None else max(0.0, self._ends_at - now())

    def peer(self) -> str:
        """Return whose call it is: somebody who may open this socket."""
        return "unix:"

    def set_trailing_metadata(self, fields: Pairs) -> None:
        """Have fields told with the call's end."""
        self.trailing = fields

    async def abort(self, code: StatusCode, details: str = "", trailing_metadata: Pairs = ()) -> NoReturn:
        """End the call with a status."""
        raise Aborted(code, details, trailing_metadata)


class HopServer:
    """Usable between `open` and `stop`."""

    def __init__(self, first: str, most_bytes: int) -> None:
        self.first, self.most_bytes = first, most_bytes
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self.connections: set[HopConnection] = set()

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """Do nothing: the same handlers come by name."""

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Register a service's methods; what has streams is left out."""
        for name, handler in method_handlers.items():
            if handler.unary_unary is not None:
                self.handlers[f"/{service_name}/{name}"] = handler

    async def open(self, socket: Path) -> None:
        """Take calls at a socket; what an earlier process left there is replaced."""
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: HopConnection(self), str(socket))
        self._remove_socket = _remover(socket)

    async def stop(self, grace: float | None) -> None:
        """Take no new calls, wait for those that run, in seconds, and end the rest; the socket goes, if it is ours."""
        self._server.close()
        self._remove_socket()
        for connection in list(self.connections):
            connection.refuse()
        patience = math.inf if grace is None else now() + grace
        while now() < patience and any(it.is_busy for it in self.connections):  # noqa: ASYNC110  # windows tell no event
            await asyncio.sleep(LOOK_SECONDS)
        for connection in list(self.connections):
            connection.transport.close()


def _remover(socket: Path) -> Callable[[], None]:
    inode = socket.stat().st_ino

    def remove() -> None:
        with contextlib.suppress(OSError):
            if socket.stat().st_ino == inode:
                socket.unlink()

    return remove


class Asked:
    """A call whose message is arriving."""

    __slots__ = ("context", "handler", "incoming")

    def __init__(self, handler: grpc.RpcMethodHandler[Any, Any], context: HopContext, most_bytes: int) -> None:
        self.handler = handler
        self.context = context
        self.incoming = Incoming(most_bytes)

    def answer(self) -> Awaitable[Any]:
        """Run the handler, which alone has the message from then on."""
        decode, message = self.handler.request_deserializer, self.incoming.take()
        answer: Any = self.handler.unary_unary
        running: Awaitable[Any] = answer(message if decode is None else decode(bytes(message)), self.context)
        return running

    def encoded(self, response: Any) -> bytes:
        """Return the bytes of what the handler answered."""
        encode = self.handler.response_serializer
        data: bytes = response if encode is None else encode(response)
        return data


class HopConnection(Connection):
    """One client's connection. `tasks` are the calls that run, by stream."""

    def __init__(self, server: HopServer) -> None:
        super().__init__(MOST_STREAMS)
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._reader = Reader(server.first)
        self._begun = b""
        self._asked: dict[int, Asked] = {}
        self._last_stream = 0
        self.tasks: dict[int, asyncio.Task[None]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `Connection.connection_made`."""
        super().connection_made(transport)
        self._server.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """As `Connection.connection_lost`: nobody waits any more."""
        super().connection_lost(error)
        self._server.connections.discard(self)
        self._asked.clear()
        for stream in list(self.tasks):
            self.tasks.pop(stream).cancel()

    def data_received(self, data: bytes) -> None:
        """As `Connection.data_received`, after the client's preface."""
        if self._begun != PREFACE:
            self._begun += data
            if not self._begun.startswith(PREFACE[: len(self._begun)]):
                self.transport.abort()
                return
            data, self._begun = self._begun[len(PREFACE) :], self._begun[: len(PREFACE)]
        super().data_received(data)

    @property
    def is_busy(self) -> bool:
        """Whether a call arrives, runs, or is being answered."""
        return bool(self._asked or self.tasks or self.outbox)

    def will_send(self, stream: int) -> bool:
        """As `Connection.will_send`: its answer."""
        return stream in self._asked or stream in self.tasks

    def refuse(self) -> None:
        """Take no new calls."""
        self.leave(last_stream=self._last_stream)

    def peer_leaves(self, last_stream: int) -> None:
        """As `Connection.peer_leaves`: a client that has no more calls."""

    def stream_reset(self, stream: int, code: int) -> None:  # noqa: ARG002  # as in its base
        """As `Connection.stream_reset`: nobody waits for that call any more."""
        self._asked.pop(stream, None)
        task = self.tasks.pop(stream, None)
        if task is not None:
            task.cancel()

    def headers_received(self, stream: int, block: bytes, *, ends: bool) -> None:
        """As `Connection.headers_received`: a call begins."""
        fields = self._reader.read(block)
        if stream <= self._last_stream or not stream % 2:
            raise ConnectionBroken(Code.PROTOCOL_ERROR)
        self._last_stream = stream
        if not self.is_open or len(self._asked) + len(self.tasks) + len(self.outbox) >= MOST_STREAMS:
            self.reset(stream, Code.REFUSED_STREAM)
            return
        known = dict(fields)
        handler = self._server.handlers.get(known.get(PATH, ""))
        if handler is None or ends:
            self._fail(stream, StatusCode.UNIMPLEMENTED, "This socket has no such method, or it takes a message.")
        else:
            self._asked[stream] = Asked(handler, HopContext(fields, known.get(TIMEOUT, "")), self._server.most_bytes)

    def body_received(self, stream: int, piece: memoryview, *, ends: bool) -> None:
        """As `Connection.body_received`: a part of a call's message, with whose end the call runs."""
        asked = self._asked.get(stream)
        if asked is None:
            return
        try:
            asked.incoming.add(piece)
        except Unacceptable as error:
            self._fail(stream, error.status, error.sentence, error.fields)
            return
        if ends and asked.incoming.is_whole:
            del self._asked[stream]
            self.tasks[stream] = self._loop.create_task(self._answer(stream, asked))
        elif ends:
            self._fail(stream, StatusCode.INTERNAL, "The request ended before its message did.")

    async def _answer(self, stream: int, asked: Asked) -> None:
        context = asked.context
        try:
            response = asked.encoded(await asked.answer())
        except Aborted as end:
            self._fail(stream, end.status, end.message, end.fields or context.trailing)
        except asyncio.CancelledError:
            if stream in self.tasks:  # nobody left: the handler gave up by itself
                self._fail(stream, StatusCode.CANCELLED, "The call was cancelled in the worker.")
            raise
        except Exception:
            log.exception("a handler failed")
            self._fail(stream, StatusCode.UNKNOWN, "Unexpected error in the worker; see its log.")
        else:
            self._respond(stream, response, context.trailing)
        finally:
            self.tasks.pop(stream, None)

    def _respond(self, stream: int, response: bytes, fields: Pairs) -> None:
        if self.transport.is_closing():
            return
        ending = ENDED_WELL + literals(fields) if fields else ENDED_WELL
        before = frame(HEADERS, END_HEADERS, stream, RESPONSE_START)
        after = frame(HEADERS, END_HEADERS | END_STREAM, stream, ending)
        self.outbox.send(stream, before, (prefix(len(response)), response), after)

    def _fail(self, stream: int, status: StatusCode, message: str, fields: Pairs = ()) -> None:
        if self.transport.is_closing():
            return
        block = RESPONSE_START + trailers(status, message, fields)
        self.transport.write(frame(HEADERS, END_HEADERS | END_STREAM, stream, block))
        if self._asked.pop(stream, None) is not None:
            self.reset(stream, Code.NO_ERROR)  # what is still on its way is not wanted
