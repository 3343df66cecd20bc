"""The gateway's end of the hop: gRPC's unary calls over one Unix socket to a worker, in the event loop's own thread.

grpc.aio does the same with threads of its own, and their handing over is most of what a call costs
(docs/decisions/0017-hop.md). A call ends like one of grpc.aio: with the response's bytes, or with AioRpcError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from inference_core.grpc_headers import (
    ENDED_WELL,
    MESSAGE,
    RESPONSE_START,
    STATUS,
    TIMEOUT,
    Fields,
    Reader,
    literals,
    request_start,
    timeout_text,
    told_by,
)
from inference_core.grpc_message import TOO_LARGE, Incoming, Unacceptable, prefix
from inference_core.http2 import Connection
from inference_core.http2_frames import END_HEADERS, HEADERS, PREFACE, STREAM_BITS, Code, frame
from inference_core.tensors import Buffer

Ended: TypeAlias = "Buffer | AioRpcError"
GONE = "The connection to the worker ended."
WITHOUT_MESSAGE = "The response has no message."
OWN_FIELDS = (":status", "content-type", STATUS, MESSAGE)
"""What a block says to gRPC itself."""
LATE = "Deadline Exceeded"
MOST_STREAMS = 1
"""What a worker may begin: nothing."""


def failure(status: StatusCode, message: str, fields: Iterable[tuple[str, str]] = ()) -> AioRpcError:
    """Return a call's error."""
    return AioRpcError(status, Metadata(), Metadata(*fields), message)


class HopCall:
    """A call under way. Awaiting it gives the response's bytes or raises AioRpcError; who stops awaiting cancels it."""

    __slots__ = ("_connection", "_future", "_stream", "incoming", "timer")

    def __init__(self, connection: HopConnection, stream: int, future: asyncio.Future[Ended], most_bytes: int) -> None:
        self._connection = connection
        self._stream = stream
        self._future = future
        self.incoming = Incoming(most_bytes)
        self.timer: asyncio.TimerHandle | None = None

    def __await__(self) -> Generator[Any, None, Buffer]:
        try:
            ended = yield from self._future
        except asyncio.CancelledError:
            self.cancel()
            raise
        if isinstance(ended, AioRpcError):
            raise ended
        return ended

    def cancel(self) -> bool:
        """End the call; False where it had ended."""
        self._connection.give_up(self._stream)
        return self._future.cancel()

    def expire(self) -> None:
        """End the call because its time is over."""
        self._connection.give_up(self._stream)
        self.end(failure(StatusCode.DEADLINE_EXCEEDED, LATE))

    def stop_timer(self) -> None:
        """Forget the deadline, which a call that was never sent does not have."""
        if self.timer is not None:
            self.timer.cancel()

    def end(self, ended: Ended) -> None:
        """Tell who waits."""
        self.stop_timer()
        if not self._future.done():
            self._future.set_result(ended)


class HopConnection(Connection):
    """A connection over which one method of a worker is called; usable while `is_open`."""

    def __init__(self, path: str, most_bytes: int) -> None:
        super().__init__(MOST_STREAMS)
        self._loop = asyncio.get_running_loop()
        self._start = request_start(path)
        self._reader = Reader()
        self._most_bytes = most_bytes
        self._calls: dict[int, HopCall] = {}
        self._next_stream = 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `Connection.connection_made`."""
        cast("asyncio.Transport", transport).write(PREFACE)
        super().connection_made(transport)

    def call(self, request: bytes, timeout: float, metadata: Sequence[tuple[str, str]]) -> HopCall:
        """Begin a call with a serialised request; `timeout` in seconds. It ends as lost where this is not open."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        call = HopCall(self, stream, self._loop.create_future(), self._most_bytes)
        if not self.is_open:
            call.end(failure(StatusCode.UNAVAILABLE, GONE))
        elif len(request) > self._most_bytes:
            call.end(failure(StatusCode.RESOURCE_EXHAUSTED, TOO_LARGE))
        else:
            self._calls[stream] = call
            call.timer = self._loop.call_later(timeout, call.expire)
            block = self._start + literals(((TIMEOUT, timeout_text(timeout)), *metadata))
            self.outbox.send(stream, frame(HEADERS, END_HEADERS, stream, block), (prefix(len(request)), request))
            self.is_open = self._next_stream < STREAM_BITS  # RFC 9113, 5.1.1: then a new connection is needed
        return call

    def give_up(self, stream: int) -> None:
        """Forget a call, and tell the worker that nobody waits for it."""
        call = self._calls.pop(stream, None)
        if call is not None:
            call.stop_timer()
            self.reset(stream, Code.CANCEL)

    def connection_lost(self, error: Exception | None) -> None:
        """As `Connection.connection_lost`: every call ends as lost."""
        super().connection_lost(error)
        self._lose(list(self._calls))

    def peer_leaves(self, last_stream: int) -> None:
        """As `Connection.peer_leaves`."""
        self.is_open = False
        self._lose([stream for stream in self._calls if stream > last_stream])

    def _lose(self, streams: Iterable[int]) -> None:
        for stream in streams:
            self._calls.pop(stream).end(failure(StatusCode.UNAVAILABLE, GONE))

    def will_send(self, stream: int) -> bool:  # noqa: ARG002  # as in its base
        """As `Connection.will_send`: a call's body is sent with its head."""
        return False

    def stream_reset(self, stream: int, code: int) -> None:
        """As `Connection.stream_reset`."""
        self._end(
            stream, failure(StatusCode.UNAVAILABLE if code == Code.REFUSED_STREAM else StatusCode.CANCELLED, GONE)
        )

    def headers_received(self, stream: int, block: bytes, *, ends: bool) -> None:
        """As `Connection.headers_received`: a response's start, which says nothing, or its end."""
        if block == RESPONSE_START and not ends:
            return
        call = self._calls.get(stream)
        if block == ENDED_WELL and ends and call is not None and call.incoming.is_whole:
            self._end(stream, call.incoming.take())
            return
        fields = self._reader.read(block)
        if ends:
            self._end(stream, self._told(call, fields))

    def _told(self, call: HopCall | None, fields: Fields) -> Ended:
        status, message = told_by(fields)
        if status is not StatusCode.OK:
            return failure(status, message, [field for field in fields if field[0] not in OWN_FIELDS])
        if call is None or not call.incoming.is_whole:
            return failure(StatusCode.INTERNAL, WITHOUT_MESSAGE)
        return call.incoming.take()

    def body_received(self, stream: int, piece: memoryview, *, ends: bool) -> None:
        """As `Connection.body_received`."""
        call = self._calls.get(stream)
        if call is None:
            return
        try:
            call.incoming.add(piece)
        except Unacceptable as error:
            self.give_up(stream)
            call.end(failure(error.status, error.sentence))
        else:
            if ends:  # without trailers
                self._end(stream, failure(StatusCode.INTERNAL, WITHOUT_MESSAGE))

    def _end(self, stream: int, ended: Ended) -> None:
        call = self._calls.pop(stream, None)
        if call is not None:
            call.end(ended)
        if self.outbox.has(stream):
            self.reset(stream, Code.CANCEL)  # answered before it was read, and what is left of it not wanted


class InferCall(Protocol):
    """A call under way, here or of grpc.aio."""

    def __await__(self) -> Generator[Any, Any, Any]:
        """Wait for the serialised response; raises AioRpcError."""

    def cancel(self) -> bool:
        """End the call."""


class Hop:
    """The way to one worker: `connection` is None where that takes batches over gRPC's own channel alone.

    Once there was one it stays, also when it has ended, so that nothing is sent to a worker of which that is known.
    """

    def __init__(self, socket: Path, path: str, most_bytes: int) -> None:
        self._socket, self._path, self._most_bytes = socket, path, most_bytes
        self.connection: HopConnection | None = None
        self._closings = 0

    async def open(self, seconds: float) -> None:
        """Connect where there is no connection that is open, in that time."""
        closings, old = self._closings, self.connection
        if old is not None and old.is_open:
            return
        new = await self._connected(seconds)
        if closings == self._closings and self.connection is old:
            self.connection = new
        elif new is not None:
            new.transport.abort()  # the worker is gone meanwhile, or somebody else was quicker

    def close(self) -> None:
        """End the calls under way as lost."""
        self._closings += 1
        if self.connection is not None:
            self.connection.transport.abort()
        self.connection = None

    async def _connected(self, seconds: float) -> HopConnection | None:
        connect = asyncio.get_running_loop().create_unix_connection
        try:
            async with asyncio.timeout(seconds):
                _, connection = await connect(lambda: HopConnection(self._path, self._most_bytes), str(self._socket))
        except OSError:  # TimeoutError is one
            return None
        return connection
