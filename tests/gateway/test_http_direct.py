"""Connections on which whole requests are answered directly, beside others that the application answers."""

from __future__ import annotations

import gc
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.http_connection import GuardedConnection
from gateway.http_direct import DirectExchange
from inference_core.settings import CHECKOUT
from tests.gateway.http_server import client, read_to_end
from tests.gateway.http_vectors import statuses_in
from tests.gateway.whole_gateway import HELD, Gateway, features, gateway, post, read_one
from tests.waiting import wait_for

MANY = 16
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def served() -> Iterator[Gateway]:
    """Return a running gateway."""
    with gateway(batches_in_flight=2) as running:
        running.send(post(features(0)))
        yield running


@pytest.fixture
def fresh() -> Iterator[Gateway]:
    """Return a gateway that a test may change."""
    with gateway(write_deadline=1.0, deadline=5.0, batches_in_flight=2) as running:
        running.send(post(features(0)))
        yield running


def whole(value: int, *fields: str) -> bytes:
    """Return a request that can be answered directly."""
    return post(features(value), *fields)


def special(value: int, *fields: str) -> bytes:
    """Return the same request in chunks, for the application."""
    body = features(value)
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:], b""))
    return post(b"", "Content-Length:none", CHUNKED, *fields).removesuffix(b"") + chunks


def test_what_a_foreign_page_sends_is_not_answered_directly(served: Gateway) -> None:
    """With the headers of another origin's page a prediction gets 403, as on every other route."""
    for field in (
        "Origin: http://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ):
        assert statuses_in(served.send(whole(1, field))) == [403], field
    assert statuses_in(served.send(whole(1, "Origin: http://localhost", "Sec-Fetch-Site: same-origin"))) == [200]


def classes_in(received: bytes) -> list[int]:
    """Return the classes of all answers, in order."""
    return [json.loads(part.partition(b"\r\n\r\n")[2])["class_id"] for part in received.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("kinds", list(product("ds", repeat=4)), ids="".join)
def test_pipelined_requests_of_both_kinds_keep_their_order(served: Gateway, kinds: tuple[str, ...]) -> None:
    """Whatever way each goes, answers come in the order of the requests."""
    served.seen.clear()
    requests = [(whole if kind == "d" else special)(number) for number, kind in enumerate(kinds)]
    with client(served.address) as connection:
        connection.sendall(b"".join(requests) + whole(9, "Connection: close"))
        assert classes_in(read_to_end(connection)) == [0, 1, 2, 3, 9]
    assert served.seen["direct"] == kinds.count("d") + 1


@pytest.mark.parametrize("request_", [whole, special], ids=["direct", "application"])
def test_a_slow_request_holds_the_next_ones_back(fresh: Gateway, request_: Any) -> None:
    """A request behind one that is still being answered begins only when its answer is out, and none is lost."""
    with client(fresh.address) as connection:
        connection.sendall(
            request_(HELD) + whole(1) + special(2) + whole(3) + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        wait_for(fresh.held, "holding the first")
        assert fresh.worker.calls[-1].values == [HELD]
        fresh.release()
        received = read_to_end(connection)
    assert statuses_in(received) == [200] * 4 + [421]
    assert classes_in(received.rpartition(b"HTTP/1.1 421")[0]) == [HELD, 1, 2, 3]


def test_a_connection_is_kept(served: Gateway) -> None:
    """Many requests share a connection, and its end is told before it comes."""
    with client(served.address) as connection:
        for number in range(20):
            connection.sendall((whole, special)[number % 2](number))
            answer = read_one(connection)
            assert classes_in(answer) == [number]
            assert b"connection: close" not in answer
        connection.sendall(whole(1, "Connection: close"))
        answer = read_to_end(connection)
    assert b"connection: close" in answer
    assert statuses_in(answer) == [200]


@pytest.mark.parametrize("rest", [b"nonsense\r\n\r\n", whole(5), b"\x00" * 50], ids=["text", "request", "bytes"])
def test_nothing_follows_the_last_answer(served: Gateway, rest: bytes) -> None:
    """What a client sends after `Connection: close` is neither answered nor refused."""
    with client(served.address) as connection:
        connection.sendall(whole(1, "Connection: close") + rest)
        assert statuses_in(read_to_end(connection)) == [200]


def test_a_bad_request_behind_a_good_one_is_refused_after_it(served: Gateway) -> None:
    """The refusal waits for the answer before it."""
    with client(served.address) as connection:
        connection.sendall(whole(1) + b"GET / HTTP/9.9\r\n\r\n")
        assert statuses_in(read_to_end(connection)) == [200, 400]


def test_http_1_0_is_answered_once(served: Gateway) -> None:
    """An old client gets its answer and the end of the connection."""
    with client(served.address) as connection:
        connection.sendall(post(features(1), version="1.0"))
        assert classes_in(read_to_end(connection)) == [1]


def test_byte_by_byte_is_whole_enough(served: Gateway) -> None:
    """However a request is cut, it is understood."""
    with client(served.address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in whole(6, "Connection: close"):
            connection.sendall(bytes([byte]))
        assert classes_in(read_to_end(connection)) == [6]


@pytest.mark.parametrize("request_", [whole, special], ids=["direct", "application"])
@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
def test_a_client_that_leaves_ends_its_work(fresh: Gateway, request_: Any, reset: bool) -> None:  # noqa: FBT001  # a parameter
    """The call to the worker is cancelled, and the log has one line with 499."""
    with capture_logs() as lines:
        with client(fresh.address) as connection:
            connection.sendall(request_(HELD, "X-Request-Id: leaver"))
            wait_for(fresh.held, "holding the request")
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_for(lambda: fresh.worker.last.ended == "cancelled", "the end of the call")
        wait_for(lambda: _statuses(lines, "leaver"), "the log line")
    assert _statuses(lines, "leaver") == [499]


def _statuses(lines: list[Any], request_id: str) -> list[int]:
    return [line["status"] for line in lines if line["event"] == "request" and line["request_id"] == request_id]


def test_a_client_that_leaves_before_a_worker_is_there(fresh: Gateway) -> None:
    """Also a request that waits for the first worker of its model ends with its client."""
    fresh.worker.models.pop("other")
    with capture_logs() as lines:
        with client(fresh.address) as connection:
            fresh.stop_worker()
            connection.sendall(post(b'{"features": [1], "model_name": "other"}', "X-Request-Id: early"))
            wait_for(lambda: fresh.seen["direct"] == 2, "the arrival")
        wait_for(lambda: _statuses(lines, "early"), "the log line", 3.0)
    assert _statuses(lines, "early") == [499]


def test_pipelined_requests_of_a_client_that_left_leave_nothing(fresh: Gateway) -> None:
    """While requests wait on a connection it is not read, so its end is seen late; then everything of it ends."""
    with client(fresh.address) as connection:
        connection.sendall(whole(HELD) + whole(1) + special(2))
        wait_for(fresh.held, "holding the first")
    fresh.release()
    wait_for(lambda: not fresh.connections(), "the end of the connection")
    wait_for(lambda: fresh.border.door.bytes == 0, "the empty account")


def fill(served: Gateway, connection: socket.socket) -> int:
    """Send requests without reading an answer until the gateway cannot write any more; return how many."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    before = set(served.connections())
    connection.connect(served.address)
    [ours] = wait_for(lambda: set(served.connections()) - before, "the connection")
    sent = 0
    while not ours.flow.write_paused:
        goal = served.server.server_state.total_requests + MANY
        connection.sendall(b"".join([whole(sent + number) for number in range(MANY)]))
        sent += MANY
        wait_for(lambda: served.server.server_state.total_requests >= goal, "answers", interval=0.0005)  # noqa: B023
    assert ours.flow.read_paused
    assert ours.transport.get_write_buffer_size() < 256 * 1024
    return sent


def test_a_client_that_does_not_read_is_cut_off(fresh: Gateway) -> None:
    """It is not read either, so the answers that nobody takes stay few, and it is gone at the write deadline."""
    with socket.socket() as connection:
        fill(fresh, connection)
        wait_for(lambda: not fresh.connections(), "the cut")


def test_a_client_that_reads_late_gets_everything(served: Gateway) -> None:
    """A connection that was held because its client did not read goes on as soon as it does."""
    with socket.socket() as connection:
        sent = fill(served, connection)
        connection.sendall(whole(sent, "Connection: close"))
        connection.settimeout(5)
        assert classes_in(read_to_end(connection)) == list(range(sent + 1))


def test_a_drain_answers_what_is_under_way(fresh: Gateway) -> None:
    """While the process leaves, a direct request in flight is answered with `Connection: close`."""
    with client(fresh.address) as busy, client(fresh.address) as idle:
        idle.sendall(whole(1))
        read_one(idle)
        busy.sendall(whole(HELD))
        wait_for(fresh.held, "holding the request")
        fresh.server.should_exit = True
        wait_for(lambda: fresh.border.draining, "the beginning of the drain")
        idle.sendall(whole(2))
        assert b"connection: close" in read_one(idle)
        fresh.release()
        answer = read_to_end(busy)
    assert classes_in(answer) == [HELD]
    assert b"connection: close" in answer


def test_a_refused_body_is_counted_out(fresh: Gateway) -> None:
    """Bodies of pipelined requests that are refused in the middle do not stay on the door's account."""
    with client(fresh.address) as connection:
        bad = post(b"", "Content-Length:none", CHUNKED) + b"5\r\nhello\r\nnonsense\r\n"
        connection.sendall(whole(HELD) + bad)
        wait_for(fresh.held, "holding the first")
        fresh.release()
        assert statuses_in(read_to_end(connection)) == [200, 400]
    wait_for(lambda: fresh.border.door.bytes == 0, "the empty account", 2.0)


def test_answers_are_quick_behind_a_slow_one(served: Gateway) -> None:
    """One connection's slow request holds up no other connection."""
    with client(served.address) as slow, client(served.address) as quick:
        slow.sendall(whole(HELD, "X-Request-Timeout: 1"))
        wait_for(served.held, "holding the request")
        started = time.monotonic()
        quick.sendall(whole(1))
        assert classes_in(read_one(quick)) == [1]
        assert time.monotonic() - started < 0.5


def test_what_has_ended_waits_for_no_collector(fresh: Gateway) -> None:
    """Answered requests, clients that left and closed connections go at once: a storm of them takes no memory."""

    def kept() -> int:
        return sum(isinstance(found, GuardedConnection | DirectExchange) for found in gc.get_objects())

    gc.collect()
    before = kept()
    gc.disable()
    try:
        for number in range(20):
            with client(fresh.address) as connection:
                connection.sendall(whole(1))
                assert number % 2 or classes_in(read_one(connection)) == [1]
        wait_for(lambda: not fresh.connections(), "the end of every connection")
        wait_for(lambda: kept() <= before, "the end of everything they had")
    finally:
        gc.enable()


def test_the_arbiter_loads_neither_grpc_nor_tracing() -> None:
    """The arbiter imports the worker class before it forks, and neither survives a fork."""
    code = "import sys, gateway.http_worker as _; print({'grpc', 'opentelemetry'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert found.stdout.strip() == "set()"
