"""The worker's end of the hop under peers that do what they should not, or slowly."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.grpc_headers import literals, request_start
from inference_core.grpc_message import prefix
from inference_core.http2_frames import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, frame
from tests.model_service.hop_server import PATH, SECONDS, client, echo, serving
from tests.waiting import eventually


def call_frames(stream: int, message: bytes, *fields: tuple[str, str]) -> bytes:
    """Return a whole call's frames."""
    block = request_start(PATH) + literals(fields)
    body = prefix(len(message)) + message
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, body)


async def told(socket: Path, data: bytes) -> bytes:
    """Return everything that the server says to a peer that says this and no more."""
    reader, writer = await asyncio.open_unix_connection(socket)
    writer.write(data)
    writer.write_eof()
    said = await asyncio.wait_for(reader.read(), SECONDS)
    writer.close()
    return said


async def is_answered(socket: Path, pieces: Iterable[bytes], expected: bytes) -> bool:
    """Say something in pieces, and wait for what the answer has in it."""
    reader, writer = await asyncio.open_unix_connection(socket)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    said = b""
    async with asyncio.timeout(SECONDS):
        while expected not in said:
            said += await reader.read(1000)
    writer.close()
    return True


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        PREFACE + call_frames(2, b"x"),
        PREFACE + call_frames(1, b"x") + call_frames(1, b"x"),
        PREFACE + frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
        PREFACE + frame(HEADERS, END_HEADERS, 1, request_start(PATH)) + frame(DATA, 0, 1, b"\x01\x00\x00\x00\x01x"),
    ],
)
async def test_a_peer_that_breaks_the_rules_costs_its_own_connection(data: bytes) -> None:
    """It is left, and the next one is served."""
    async with serving(echo) as (socket, server):
        await told(socket, data)
        await eventually(lambda: not server.connections, "the connection's end")
        async with client(socket) as method:
            assert await method(b"x", timeout=SECONDS) == b"x"


@given(st.binary(max_size=200), st.sampled_from([b"", PREFACE]))
def test_any_bytes_cost_their_own_connection(data: bytes, start: bytes) -> None:
    """Whatever a peer says, the server ends it or waits, and answers others."""

    async def say() -> None:
        async with serving(echo) as (socket, _):
            await told(socket, start + data)
            assert await is_answered(socket, [PREFACE + call_frames(1, b"fine")], b"fine")

    asyncio.run(say())


async def test_a_message_in_single_bytes_is_one() -> None:
    """However slowly a peer speaks, its call is answered."""
    data = PREFACE + call_frames(1, b"slowly", ("grpc-timeout", "10S"))
    async with serving(echo) as (socket, _):
        assert await is_answered(socket, [bytes((byte,)) for byte in data], b"slowly")


async def test_a_message_that_was_cut_is_no_message() -> None:
    """A stream that ends before its message does reaches no handler."""
    begun = frame(HEADERS, END_HEADERS, 1, request_start(PATH))
    async with serving(echo) as (socket, _):
        cut = begun + frame(DATA, END_STREAM, 1, prefix(10) + b"abc")
        assert await is_answered(socket, [PREFACE + cut], b"before its message did")


async def test_a_call_that_arrives_while_the_worker_stops_is_answered() -> None:
    """What was accepted before GOAWAY is waited for, though only half of it is there."""
    whole = PREFACE + call_frames(1, b"slowly")
    async with serving(echo) as (socket, server):
        reader, writer = await asyncio.open_unix_connection(socket)
        writer.write(whole[:-3])
        await eventually(lambda: any(connection.is_busy for connection in server.connections), "the call")
        stopping = asyncio.ensure_future(server.stop(SECONDS))
        await eventually(lambda: not any(connection.is_open for connection in server.connections), "GOAWAY")
        writer.write(whole[-3:])
        assert b"slowly" in await asyncio.wait_for(reader.read(), SECONDS)
        writer.close()
        await stopping
