"""The worker's end of the hop under gRPC's own client, and under peers that do what they should not."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from tests.model_service.hop_server import MOST, PATH, SECONDS, client, echo, serving
from tests.model_service.worker import Gate, infer_request, loaded, running_worker, until
from tests.waiting import eventually


@pytest.mark.parametrize("size", [0, 1, 16_384, 70_000, 5_000_000])
async def test_a_message_comes_back(size: int) -> None:
    """Messages of any size cross both ways, whatever windows and frames the client has."""
    request = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with serving(echo) as (socket, _), client(socket) as method:
        assert await method(request, timeout=SECONDS) == request
        assert await method(request, timeout=SECONDS, metadata=(("x-request-id", "r"),)) == request


async def test_many_calls_at_once_get_their_own_answers() -> None:
    """Calls of all sizes share the connection, and none gets another's answer."""
    requests = [f"{number}".encode() * (number * 997 % 40_000 + 1) for number in range(200)]
    async with serving(echo) as (socket, _), client(socket) as method:
        assert await asyncio.gather(*[method(request, timeout=SECONDS) for request in requests]) == requests


async def test_a_handler_sees_metadata_and_deadline_and_tells_an_end() -> None:
    """Fields, time and the peer's kind are the call's; status, sentence and trailing fields are the handler's."""
    seen: list[Any] = []

    async def refuse(_: bytes, context: Any) -> bytes:
        seen.extend((dict(context.invocation_metadata())["key"], context.time_remaining(), context.peer()))
        await context.abort(StatusCode.NOT_FOUND, "Nicht da: 100 %.", (("reason", "gone"),))
        return b""

    async with serving(refuse) as (socket, _), client(socket) as method:
        call = method(b"x", timeout=5.0, metadata=(("key", "v" * 300),))
        assert (await call.code(), await call.details()) == (StatusCode.NOT_FOUND, "Nicht da: 100 %.")
        assert ("reason", "gone") in tuple(await call.trailing_metadata())
    key, remaining, peer = seen
    assert (key, peer) == ("v" * 300, "unix:")
    assert 0 < remaining < 5.1  # gRPC rounds up to what it can write


async def test_fields_follow_an_answer() -> None:
    """What a handler tells with its answer arrives behind it."""

    async def told(request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("models-revision", "7"),))
        return bytes(request)

    async with serving(told) as (socket, _), client(socket) as method:
        call = method(b"x", timeout=SECONDS)
        assert await call == b"x"
        assert ("models-revision", "7") in tuple(await call.trailing_metadata())


async def test_a_call_without_a_deadline_has_none() -> None:
    """A client may wait as long as it likes; the worker's own limit is its service's affair."""
    seen: list[float | None] = []

    async def note(request: bytes, context: Any) -> bytes:
        seen.append(context.time_remaining())
        return bytes(request)

    async with serving(note) as (socket, _), client(socket) as method:
        await method(b"x")
    assert seen == [None]


async def test_an_error_nobody_expected_costs_its_call_alone() -> None:
    """The client gets a fixed sentence and the next call an answer."""

    async def fail(request: bytes, _: Any) -> bytes:
        if request == b"bad":
            raise ZeroDivisionError
        return bytes(request)

    async with serving(fail) as (socket, _), client(socket) as method:
        call = method(b"bad", timeout=SECONDS)
        assert await call.code() is StatusCode.UNKNOWN
        assert "Unexpected error" in await call.details()
        assert await method(b"good", timeout=SECONDS) == b"good"


async def test_a_handler_that_gives_up_ends_its_call() -> None:
    """A cancellation that comes from inside is told, for somebody waits."""

    async def give_up(_: bytes, __: Any) -> bytes:
        raise asyncio.CancelledError

    async with serving(give_up) as (socket, _), client(socket) as method:
        assert await method(b"x", timeout=SECONDS).code() is StatusCode.CANCELLED


async def test_a_compressed_message_costs_its_call_alone() -> None:
    """Its client learns that this is not offered, and its other calls go on."""
    async with serving(echo) as (socket, _), grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        method: Any = channel.unary_unary(PATH)
        squeezed = method(b"x" * 10_000, timeout=SECONDS, compression=grpc.Compression.Gzip)
        assert await squeezed.code() is StatusCode.UNIMPLEMENTED
        assert await method(b"x", timeout=SECONDS) == b"x"


async def test_a_method_that_there_is_not_is_unimplemented() -> None:
    """As gRPC says it."""
    async with serving(echo) as (socket, _), grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        other: Any = channel.unary_unary("/some.Service/Other")
        call = other(b"x", timeout=SECONDS)
        assert await call.code() is StatusCode.UNIMPLEMENTED


async def test_a_message_above_the_limit_is_refused() -> None:
    """RESOURCE_EXHAUSTED, and the connection goes on."""
    async with serving(echo) as (socket, _), client(socket) as method:
        assert await method(bytes(MOST + 1), timeout=SECONDS).code() is StatusCode.RESOURCE_EXHAUSTED
        assert await method(b"x", timeout=SECONDS) == b"x"


@pytest.mark.parametrize("way", ["cancel", "deadline", "close"])
async def test_who_leaves_takes_the_handler_along(way: str) -> None:
    """A call that is cancelled or late, and a connection that ends, cancel what runs for nobody."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def wait(_: bytes, __: Any) -> bytes:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    async with serving(wait) as (socket, server):
        async with client(socket) as method:
            call = method(b"x", timeout=0.5 if way == "deadline" else SECONDS)
            await asyncio.wait_for(began.wait(), SECONDS)
            if way == "cancel":
                call.cancel()
            if way != "close":
                await asyncio.wait_for(ended.wait(), SECONDS)
        await asyncio.wait_for(ended.wait(), SECONDS)
        await eventually(lambda: not any(connection.tasks for connection in server.connections), "the call's end")


async def test_a_stop_answers_what_runs_and_takes_nothing_new() -> None:
    """Calls under way are answered within the grace, new ones end as UNAVAILABLE."""
    leave, began = asyncio.Event(), asyncio.Event()

    async def slow(request: bytes, _: Any) -> bytes:
        began.set()
        await leave.wait()
        return bytes(request)

    async with serving(slow) as (socket, server), client(socket) as method:
        call = method(b"x", timeout=SECONDS)
        await asyncio.wait_for(began.wait(), SECONDS)
        stopping = asyncio.ensure_future(server.stop(SECONDS))
        await eventually(lambda: all(not connection.is_open for connection in server.connections), "the refusal")
        assert await method(b"y", timeout=SECONDS).code() is StatusCode.UNAVAILABLE
        leave.set()
        assert await call == b"x"
        await stopping
        assert not server.connections
        assert not socket.exists()


async def test_a_stop_leaves_the_socket_of_a_successor() -> None:
    """A process that took the place meanwhile keeps its socket."""
    async with serving(echo) as (socket, server):
        socket.unlink()
        socket.touch()
        await server.stop(SECONDS)
        assert socket.exists()


async def test_a_stop_does_not_wait_for_ever() -> None:
    """What runs on past the grace is ended."""
    ended = asyncio.Event()

    async def endless(_: bytes, __: Any) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    async with serving(endless) as (socket, server), client(socket) as method:
        call = method(b"x", timeout=SECONDS)
        await eventually(lambda: any(connection.tasks for connection in server.connections), "the call")
        await server.stop(0.05)
        assert await call.code() is StatusCode.UNAVAILABLE
        await asyncio.wait_for(ended.wait(), SECONDS)


async def test_a_workers_models_answer_over_the_hop() -> None:
    """The same handlers, with their batches, answer here and at the worker's other sockets."""
    gate = Gate()
    async with running_worker(loaded("slow", gate)) as worker:
        sent = [worker.hop.ModelInfer(infer_request("slow"))]
        await gate.wait_entered()
        sent += [worker.hop.ModelInfer(infer_request("slow")) for _ in range(7)]
        await until(lambda: worker.engine.rows_waiting("slow") == 7)
        gate.leave.set()
        answers = await asyncio.gather(*sent)
    assert [answer.model_name for answer in answers] == ["slow"] * 8
