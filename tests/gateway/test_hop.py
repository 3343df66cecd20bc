"""The gateway's end of the hop against gRPC's own server: it speaks the protocol, and ends every call once."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from gateway.hop import Hop, HopConnection
from tests.waiting import eventually

PATH = "/some.Service/Method"
MOST = 8 * 1024 * 1024
SECONDS = 10.0
Handler = Callable[[bytes, Any], Awaitable[bytes]]


@dataclass
class Service:
    """A gRPC server with one method, and what it saw of its last call."""

    handler: Handler
    metadata: tuple[tuple[str, str], ...] = ()
    remaining: float | None = None
    began: int = 0
    cancelled: int = 0

    async def answer(self, request: bytes, context: Any) -> bytes:
        """Have the test's handler answer."""
        self.metadata, self.remaining = tuple(context.invocation_metadata()), context.time_remaining()
        self.began += 1
        try:
            return await self.handler(request, context)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def echo(request: bytes, _: Any) -> bytes:
    """Answer with what was asked."""
    return request


async def never(_: bytes, __: Any) -> bytes:
    """Answer nobody."""
    await asyncio.Event().wait()
    return b""


@asynccontextmanager
async def called(handler: Handler) -> AsyncIterator[tuple[HopConnection, Service, grpc.aio.Server]]:
    """Connect to a grpc.aio server that has this handler."""
    service = Service(handler)
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.aio.server(options=options)
    method: dict[str, Any] = {"Method": grpc.unary_unary_rpc_method_handler(service.answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("some.Service", method),))
    with tempfile.TemporaryDirectory(prefix="hop-") as folder:
        socket = Path(folder) / "s"
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        hop = Hop(socket, PATH, MOST)
        await hop.open(SECONDS)
        assert hop.connection is not None
        try:
            yield hop.connection, service, server
        finally:
            hop.close()
            await server.stop(None)


async def end_of(call: Awaitable[Any]) -> AioRpcError:
    """Return the error that a call ends with."""
    with pytest.raises(AioRpcError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("size", [0, 1, 16_384, 70_000, 5_000_000])
async def test_a_message_comes_back(size: int) -> None:
    """Messages of any size cross both ways, beyond the windows and frames that gRPC begins with."""
    async with called(echo) as (connection, _, _):
        request = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        assert bytes(await connection.call(request, SECONDS, ())) == request


async def test_many_calls_at_once_get_their_own_answers() -> None:
    """Calls of all sizes share the connection, and none gets another's answer."""
    requests = [f"{number}".encode() * (number * 997 % 40_000 + 1) for number in range(200)]
    async with called(echo) as (connection, _, _):
        calls = [connection.call(request, SECONDS, ()) for request in requests]
        assert [bytes(await call) for call in calls] == requests


async def test_metadata_and_deadline_cross() -> None:
    """What goes along is what a handler sees, long values included, and the deadline is the call's."""
    told = (("traceparent", "00-aa-bb-01"), ("x-request-id", "r" * 128), ("tracestate", "k=v," * 100))
    async with called(echo) as (connection, service, _):
        await connection.call(b"x", 5.0, told)
        assert set(told) <= set(service.metadata)
        assert service.remaining is not None
        assert 0 < service.remaining <= 5.0


async def test_an_error_brings_its_status_sentence_and_fields() -> None:
    """A handler's end is the call's: status, a sentence in any script, trailing fields."""

    async def refuse(_: bytes, context: Any) -> bytes:
        await context.abort(StatusCode.RESOURCE_EXHAUSTED, "Zu viel: 100 % — später.", (("reason", "queue"),))
        return b""

    async with called(refuse) as (connection, _, _):
        error = await end_of(connection.call(b"x", SECONDS, ()))
    assert (error.code(), error.details()) == (StatusCode.RESOURCE_EXHAUSTED, "Zu viel: 100 % — später.")
    assert ("reason", "queue") in tuple(error.trailing_metadata())


async def test_a_deadline_ends_the_call_at_both_ends() -> None:
    """The client is told in time, and the handler is cancelled."""
    async with called(never) as (connection, service, _):
        error = await end_of(connection.call(b"x", 0.2, ()))
        assert error.code() is StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: service.cancelled == 1, "the handler's end")


async def test_who_stops_waiting_cancels_the_call() -> None:
    """A task that is cancelled while it waits takes the handler with it; the connection goes on."""
    async with called(never) as (connection, service, _):
        waiting = asyncio.ensure_future(connection.call(b"x", SECONDS, ()))
        await eventually(lambda: service.began == 1, "the call")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await eventually(lambda: service.cancelled == 1, "the handler's end")
        service.handler = echo
        assert bytes(await connection.call(b"y", SECONDS, ())) == b"y"


async def test_a_cancelled_call_is_cancelled_for_who_waits() -> None:
    """As with grpc.aio: cancelling from elsewhere raises CancelledError where it is awaited, once."""
    async with called(never) as (connection, _, _):
        call = connection.call(b"x", SECONDS, ())
        assert call.cancel()
        assert not call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_server_that_is_gone_ends_its_calls_as_lost() -> None:
    """Whatever is under way when the connection breaks ends at once with UNAVAILABLE."""
    async with called(never) as (connection, service, _):
        calls = [connection.call(b"x", SECONDS, ()) for _ in range(3)]
        await eventually(lambda: service.began == 3, "the calls")
        connection.transport.abort()
        assert [(await end_of(call)).code() for call in calls] == [StatusCode.UNAVAILABLE] * 3
        assert not connection.is_open


async def test_a_call_on_a_closed_connection_ends_as_lost() -> None:
    """Nothing waits for a connection that is gone."""
    async with called(echo) as (connection, _, _):
        connection.transport.abort()
        await eventually(lambda: not connection.is_open, "the connection's end")
        assert (await end_of(connection.call(b"x", SECONDS, ()))).code() is StatusCode.UNAVAILABLE


async def test_a_server_that_stops_answers_what_runs() -> None:
    """After GOAWAY the connection takes no calls, and those under way are answered."""
    leave = asyncio.Event()

    async def slow(request: bytes, _: Any) -> bytes:
        await leave.wait()
        return request

    async with called(slow) as (connection, service, server):
        call = connection.call(b"x", SECONDS, ())
        await eventually(lambda: service.began == 1, "the call")
        stopping = asyncio.ensure_future(server.stop(SECONDS))
        await eventually(lambda: not connection.is_open, "GOAWAY")
        leave.set()
        assert bytes(await call) == b"x"
        await stopping


async def test_a_message_above_the_limit_is_refused_either_way() -> None:
    """RESOURCE_EXHAUSTED without a reason, as from gRPC; the connection goes on."""

    async def large(_: bytes, __: Any) -> bytes:
        return bytes(MOST + 1)

    async with called(large) as (connection, service, _):
        for request in (bytes(MOST + 1), b"x"):
            error = await end_of(connection.call(request, SECONDS, ()))
            assert (error.code(), dict(error.trailing_metadata())) == (StatusCode.RESOURCE_EXHAUSTED, {})
        service.handler = echo
        assert bytes(await connection.call(b"y", SECONDS, ())) == b"y"


async def test_nobody_at_the_socket_is_no_connection() -> None:
    """Neither a socket that is not there nor one that a killed worker left behind raises."""
    with tempfile.TemporaryDirectory(prefix="hop-") as folder:
        (Path(folder) / "file").touch()
        for name in ("none", "file"):
            hop = Hop(Path(folder) / name, PATH, MOST)
            await hop.open(SECONDS)
            assert hop.connection is None


async def test_a_way_that_was_closed_meanwhile_stays_closed() -> None:
    """A worker that is gone before the connection to it stands is not taken for one that is there."""
    async with called(echo) as (connection, _, _):
        hop = Hop(Path(connection.transport.get_extra_info("peername")), PATH, MOST)
        opening = asyncio.ensure_future(hop.open(SECONDS))
        await asyncio.sleep(0)
        hop.close()
        await opening
        assert hop.connection is None


async def test_opening_twice_makes_one_connection() -> None:
    """An open connection is kept, and of two that are made at once one is dropped."""
    async with called(echo) as (connection, _, _):
        hop = Hop(Path(connection.transport.get_extra_info("peername")), PATH, MOST)
        await asyncio.gather(hop.open(SECONDS), hop.open(SECONDS))
        first = hop.connection
        await hop.open(SECONDS)
        assert first is not None
        assert hop.connection is first
        assert bytes(await first.call(b"x", SECONDS, ())) == b"x"
        hop.close()
