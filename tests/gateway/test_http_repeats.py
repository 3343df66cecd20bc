"""A connection that knows heads must answer exactly as one that parses everything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.http_connection import Border
from gateway.http_direct import DirectExchange, Pending
from gateway.http_exchange import Exchange
from gateway.http_protocol import GatewayProtocol
from gateway.http_repeating import REFUSALS_OF_A_CONNECTION, RepeatingProtocol
from gateway.http_repeats import MOST_HEAD_BYTES, MOST_HEADS, Repeats
from gateway.replies import DIRECT_ROUTES, Fields, Reply
from inference_core.settings import Gateway
from tests.gateway.http_vectors import statuses_in

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n"
LIMITS = Gateway(max_header_bytes=2048)


def post(body: bytes, fields: bytes = b"") -> bytes:
    """Return a request that can be answered directly, unless its fields are special."""
    return HEAD % (len(body), fields) + body


CLOSING = post(b"{}", b"Connection: close\r\n")
CROWDED = b"[1]"
REFUSAL = Reply(503, b"{}", "id", "trace", 1)
BLANK = b"\r\n" * 4
PIECES = st.sampled_from(
    [
        post(b"{}"),
        post(b"{}"),
        post(CROWDED),
        post(b"{}", b"X-Request-Id: a\r\n"),
        CLOSING,
        post(b"{}", b"Host: twice\r\n"),
        post(b"{}").replace(b"localhost", b"elsewhere"),
        post(b"{}").replace(b"Length: 2", b"Length: 1"),
        post(b"{}").replace(b"Length: 2", b"Length: 3"),
        post(b"{}").replace(b"POST", b"PO ST"),
        post(b"{}").replace(b"1.1", b"1.0"),
        post(BLANK),
        BLANK,
        b"\r\n\r\n" + BLANK,
        b"\r\n\r\n" + b"[1,2,34]",
        b"\r\n",
        b"\r",
        b"{}",
    ]
)


class Line(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep the bytes, while it is open."""
        self.written += b"" if self.closing else bytes(data)

    def is_closing(self) -> bool:
        """Tell whether it was closed."""
        return self.closing

    def close(self) -> None:
        """Take nothing more."""
        self.closing = True

    def abort(self) -> None:
        """Take nothing more."""
        self.closing = True

    def write_eof(self) -> None:
        """Take nothing more."""
        self.closing = True

    def pause_reading(self) -> None:
        """Do nothing: the test decides what is read."""

    def resume_reading(self) -> None:
        """Do nothing."""


class Answered:
    """Stands for a request that was answered at once."""

    def leave(self) -> None:
        """Do nothing."""


class Route:
    """Answers at once, and keeps the bodies; has no time for CROWDED, whichever way it comes."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, fields: Fields, body: bytes, reply: Callable[[Reply], None]) -> Answered:
        """Answer with the body, or refuse it."""
        self.bodies.append(body + fields.get(b"x-request-id", b""))
        reply(REFUSAL if body == CROWDED else Reply(200, body, "id", "trace"))
        return Answered()

    def turn_away(self, _: Fields, body: bytes) -> Reply | None:
        """Refuse CROWDED."""
        if body != CROWDED:
            return None
        self.bodies.append(body)
        return REFUSAL


def answered_by(kind: type[GatewayProtocol], connections: Sequence[Sequence[bytes]]) -> tuple[list[bytes], list[bytes]]:
    """Return what was written on each connection, and the bodies of the requests that were answered directly."""
    route = Route()

    class Protocol(kind):  # type: ignore[misc,valid-type]  # the class is the parameter
        border = Border(LIMITS)

    async def run() -> list[bytes]:
        config = Config(_application, ws="none", proxy_headers=False, log_config=None, access_log=False)
        config.load()
        lines = [Line() for _ in connections]
        for line, chunks in zip(lines, connections, strict=True):
            protocol = Protocol(config, ServerState(), {DIRECT_ROUTES: {b"/predict": route}})
            protocol.connection_made(line)
            for chunk in chunks:
                protocol.data_received(chunk)
                await asyncio.sleep(0)
            await asyncio.gather(*protocol.tasks)
            protocol.connection_lost(None)
        return [line.written for line in lines]

    return asyncio.run(run()), route.bodies


async def _application(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@st.composite
def traffic(draw: st.DrawFn) -> list[list[bytes]]:
    """Return chunks for some connections: requests, whole or cut anywhere, good and bad."""
    connections = []
    for _ in range(draw(st.integers(1, 3))):
        chunks: list[bytes] = []
        for piece in draw(st.lists(PIECES, max_size=6)):
            cut = draw(st.one_of(st.just(0), st.integers(0, len(piece))))
            chunks += [part for part in (piece[:cut], piece[cut:]) if part]
        if len(chunks) > 1 and draw(st.booleans()):
            chunks[:2] = [chunks[0] + chunks[1]]
        connections.append(chunks)
    return connections


@settings(max_examples=500, deadline=None)
@example([[post(BLANK), b"\r\n\r\n" + BLANK], [b"\r\n\r\n[1,2,34]"]])
@example([[CLOSING], [CLOSING, post(b"{}")]])
@given(traffic())
def test_known_heads_change_no_answer(connections: list[list[bytes]]) -> None:
    """Whatever arrives, in whatever pieces, is answered as if every byte had been parsed."""
    parsed, parsed_bodies = answered_by(GatewayProtocol, connections)
    repeated, repeated_bodies = answered_by(RepeatingProtocol, connections)
    assert [statuses_in(written) for written in repeated] == [statuses_in(written) for written in parsed]
    assert repeated_bodies == parsed_bodies


def test_a_head_that_came_before_is_not_parsed() -> None:
    """The second request with the same head is answered without the parser, on another connection too."""
    heads: list[bytes] = []

    class Counting(RepeatingProtocol):
        def on_message_begin(self) -> None:
            heads.append(b"")
            super().on_message_begin()

    written, bodies = answered_by(Counting, [[post(b"{}"), post(b"[]")], [post(b"12")]])
    assert bodies == [b"{}", b"[]", b"12"]
    assert [statuses_in(part) for part in written] == [[200, 200], [200]]
    assert len(heads) == 1


def test_a_crowded_model_refuses_known_heads_at_once() -> None:
    """Nothing is begun for them, and the connection serves its next request."""
    begun: list[bytes] = []

    class Beginning(RepeatingProtocol):
        def start(self, exchange: Exchange | DirectExchange) -> None:
            assert isinstance(exchange, DirectExchange)
            begun.append(exchange.pending.body)
            super().start(exchange)

    written, _ = answered_by(Beginning, [[post(b"{ }"), post(CROWDED), post(CROWDED), post(b"[2]")]])
    assert [statuses_in(part) for part in written] == [[200, 503, 503, 200]]
    assert begun == [b"{ }", b"[2]"]


def test_a_client_that_is_refused_again_and_again_gets_another_connection() -> None:
    """One in so many refusals of a process ends its connection, and says so."""
    crowd = [post(b"{ }"), *[post(CROWDED)] * (REFUSALS_OF_A_CONNECTION - 1)]
    (first, last), _ = answered_by(RepeatingProtocol, [crowd, [post(CROWDED), post(b"[2]")]])
    assert b"connection: close" not in first
    assert statuses_in(last) == [503]
    assert b"connection: close" in last


def test_few_heads_are_kept_and_none_that_varies() -> None:
    """However many heads clients send, the memory for them is bounded."""
    known = Repeats()

    def remember(head: bytes, fields: dict[bytes, bytes]) -> bool:
        data = b"POST /" + head + b"\r\n\r\n{}"
        known.remember(data, Pending(Route(), Fields(fields.items()), b"{}"))
        return known.find(data) is not None

    assert remember(b"POST", {})
    assert not remember(b"TRACED", {b"traceparent": b"00"})
    assert not remember(b"P" * MOST_HEAD_BYTES, {})
    assert all(remember(b"%d" % number, {}) for number in range(MOST_HEADS))
    assert not known.find(b"POST /POST\r\n\r\n{}")
    assert known.find(b"POST /%d\r\n\r\n{}" % (MOST_HEADS - 1)) is not None
    assert known.find(b"POST /%d\r\n\r\n{" % (MOST_HEADS - 1)) is None


def test_what_is_no_request_is_not_remembered() -> None:
    """Blank lines before a body, or a body without a head, name no request."""
    known = Repeats()
    for data in (b"\r\n\r\n{}", b"\n\n\n{}", b"{}"):
        known.remember(data, Pending(Route(), Fields(()), b"{}"))
        assert known.find(data) is None
