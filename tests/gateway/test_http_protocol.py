"""The HTTP border, over real sockets."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Iterator

import pytest

from inference_core.settings import Gateway
from tests.gateway.http_app import BIG_ANSWER
from tests.gateway.http_server import Served, client, read_answer, read_to_end, serving, wait_until_closed
from tests.gateway.http_vectors import (
    GET,
    HOST,
    POST,
    SMUGGLED,
    VECTORS,
    Vector,
    chunked,
    exchange,
    statuses_in,
    verdict,
)
from tests.waiting import wait_for

PATIENT = Gateway(header_deadline=5.0, keep_alive=5.0)
HASTY = Gateway(header_deadline=0.3, keep_alive=0.3, write_deadline=0.5, max_connections=8, max_chunks=50)
FETCH = GET + b"\r\n"
HELD = b"GET /gate HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture(scope="module")
def patient() -> Iterator[Served]:
    """Return a server whose deadlines no test here reaches, but for the silent body."""
    with serving(PATIENT) as served:
        yield served


@pytest.fixture
def hasty() -> Iterator[Served]:
    """Return a server with limits that a test reaches at once."""
    with serving(HASTY) as served:
        yield served


def body_of(response: bytes) -> dict[str, object]:
    """Return the JSON body of one response."""
    parsed: dict[str, object] = json.loads(response.partition(b"\r\n\r\n")[2])
    return parsed


VECTORS_WITHOUT_WAITING = [vector for vector in VECTORS if vector.name != "continue-then-silence"]


@pytest.mark.parametrize("vector", VECTORS_WITHOUT_WAITING, ids=lambda vector: vector.identity)
def test_an_attack_gets_one_fitting_response_and_the_connection_ends(patient: Served, vector: Vector) -> None:
    """Every row of the catalogue is refused with its status, once, and nothing behind it is read as a request."""
    received, closed = exchange(patient.address, vector.data, seconds=4.0)
    assert verdict(vector, received, closed=closed) == ""


def test_a_refusal_says_what_to_do_and_can_be_found_again(patient: Served, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal is JSON with a sentence, carries two ids, and is one log line without a byte of the client's."""
    with caplog.at_level(logging.INFO, logger="gateway.http"):
        received, _ = exchange(patient.address, b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", seconds=4.0)
    head = received.partition(b"\r\n\r\n")[0].decode()
    ids = {name: re.search(rf"{name}: ([0-9a-f]{{32}})\r?\n?", head) for name in ("x-request-id", "x-trace-id")}
    assert "connection: close" in head
    assert "content-type: application/json" in head
    assert str(body_of(received)["error"]).endswith(".")
    [record] = [record for record in caplog.records if record.name == "gateway.http"]
    assert record.getMessage() == "refused"
    assert [found and found[1] for found in ids.values()] == [vars(record)["request_id"], vars(record)["trace_id"]]
    assert "evil" not in repr(vars(record))


def test_a_refused_head_request_gets_the_status_only(patient: Served) -> None:
    """The answer to HEAD has no body, refused or not."""
    received, _ = exchange(patient.address, b"HEAD / HTTP/1.1\r\nHost: evil.example\r\n\r\n", seconds=4.0)
    assert statuses_in(received) == [421]
    assert received.endswith(b"\r\n\r\n")


def test_underscore_twins_never_reach_the_application(patient: Served) -> None:
    """A field whose name differs from a real one by an underscore is dropped (E11)."""
    with client(patient.address) as connection:
        connection.sendall(GET + b"X_Request_ID: a\r\nContent_Length: 5\r\nX-Real: b\r\n\r\n")
        headers = body_of(read_answer(connection))["headers"]
    assert headers == {"host": "localhost", "x-real": "b"}


def test_the_absolute_form_outranks_host(patient: Served) -> None:
    """The application sees the authority of the target, whatever Host says (E09)."""
    with client(patient.address) as connection:
        connection.sendall(b"GET http://localhost:80/ HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        answer = body_of(read_answer(connection))
    assert (answer["host"], answer["path"]) == ("localhost", "/")


@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST:3000", b"127.0.0.1:1", b"[::1]:3000"])
def test_allowed_hosts_are_served_with_any_port(patient: Served, host: bytes) -> None:
    """The allow-list is compared without port and case."""
    with client(patient.address) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        assert statuses_in(read_answer(connection)) == [200]


def test_harmless_trailers_leave_the_request_alone(patient: Served) -> None:
    """A trailer neither changes nor joins the header section, and the connection stays open (E13)."""
    with client(patient.address) as connection:
        for _ in range(2):
            connection.sendall(chunked(b"5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n"))
            assert read_answer(connection).endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
def test_an_upgrade_is_ignored_and_the_connection_goes_on(patient: Served, protocol: bytes) -> None:
    """A request that offers an upgrade is answered in HTTP/1.1, and so is the next."""
    offer = GET + b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n"
    last = GET + b"Connection: close\r\n\r\n"
    with client(patient.address) as connection:
        connection.sendall(offer + last)
        assert statuses_in(read_to_end(connection)) == [200, 200]


def test_pipelined_requests_are_answered_in_order(patient: Served) -> None:
    """Requests sent without waiting get their answers in order, and a bad one its refusal last."""
    posts = b"".join(POST + b"Content-Length: 1\r\n\r\n" + digit for digit in (b"1", b"2", b"3"))
    received, closed = exchange(patient.address, posts + b"GET / HTTP/9.9\r\n\r\n" + SMUGGLED, seconds=4.0)
    assert statuses_in(received) == [200, 200, 200, 400]
    assert re.findall(rb"\r\n\r\n(\d)", received) == [b"1", b"2", b"3"]
    assert closed


def test_a_flood_of_pipelined_requests_is_cut_and_says_so(patient: Served) -> None:
    """Only so many requests wait on one connection; the last one answered says that the rest was not read."""
    received, closed = exchange(patient.address, FETCH * 500, seconds=4.0)
    answers = received.split(b"HTTP/1.1 ")[1:]
    assert 1 < len(answers) < 50
    assert [b"connection: close" in answer for answer in answers] == [False] * (len(answers) - 1) + [True]
    assert closed


def test_an_early_answer_survives_a_body_that_is_still_coming(patient: Served) -> None:
    """The answer to a request that was not read to its end reaches a client that keeps sending."""
    size = 8 * 1024 * 1024
    with client(patient.address) as connection:
        connection.sendall(b"POST /refuse HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size + bytes(1000))
        answer = read_answer(connection)
        connection.sendall(bytes(size - 1000))
        assert connection.recv(1) == b""
    assert statuses_in(answer) == [413]
    assert b"connection: close" in answer


def test_a_declared_length_beyond_the_limit_is_refused_unread(patient: Served) -> None:
    """A client that waits for 100 Continue is told 413 instead."""
    with client(patient.address) as connection:
        connection.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 100000000\r\n\r\n")
        received = read_to_end(connection)
    assert received.startswith(b"HTTP/1.1 413 ")


def test_too_many_chunks_are_refused(hasty: Served) -> None:
    """A body in more chunks than allowed is cut, and answered once."""
    received, closed = exchange(hasty.address, chunked(b"1\r\na\r\n" * 51), seconds=4.0)
    assert (statuses_in(received), closed) == ([413], True)


@pytest.mark.parametrize("line", [b"1;" + b"x" * 600_000, b"0\r\nX: " + b"a" * 600_000], ids=["extension", "trailer"])
def test_an_endless_line_inside_a_body_is_cut(patient: Served, line: bytes) -> None:
    """A chunk extension or trailer may not be longer than a header section."""
    with client(patient.address) as connection:
        connection.sendall(chunked(b""))
        connection.sendall(line)
        assert statuses_in(read_to_end(connection)) == [431]


def test_a_silent_connection_is_closed_without_a_word(hasty: Served) -> None:
    """A client that never says anything loses the connection at the header deadline (E17)."""
    with client(hasty.address) as connection:
        assert read_to_end(connection) == b""


@pytest.mark.parametrize(
    "fragment", [b"G", GET, GET + b"X: ", FETCH * 2 + b"GET /"], ids=["method", "fields", "field", "after-others"]
)
def test_half_a_header_section_is_answered_at_the_deadline(hasty: Served, fragment: bytes) -> None:
    """A header section that does not end in time gets 408, on a fresh connection and on a used one (E17)."""
    with client(hasty.address) as connection:
        connection.sendall(fragment)
        assert statuses_in(read_to_end(connection)) == [200] * fragment.count(b"\r\n\r\n") + [408]


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"], ids=["plain", "after-100-continue"])
def test_a_body_that_never_begins_is_answered_at_the_deadline(hasty: Served, expect: bytes) -> None:
    """A client that announces a body and sends none of it gets 408 (E15)."""
    with client(hasty.address) as connection:
        connection.sendall(POST + expect + b"Content-Length: 5\r\n\r\n")
        assert statuses_in(read_to_end(connection)) == [408]


def test_blank_lines_do_not_keep_a_connection(hasty: Served) -> None:
    """Line ends between requests do not extend the keep-alive time for ever."""
    with client(hasty.address) as connection:
        connection.sendall(FETCH)
        read_answer(connection)
        connection.sendall(b"\r\n\r\n")
        assert read_to_end(connection) == b""


def test_idle_kept_alive_connections_are_closed(hasty: Served) -> None:
    """A connection without a next request is closed after the keep-alive time, and nothing of it stays (E20)."""
    connections = [client(hasty.address) for _ in range(5)]
    for connection in connections:
        connection.sendall(FETCH)
        assert statuses_in(read_answer(connection)) == [200]
    for connection in connections:
        with connection:
            assert read_to_end(connection) == b""
    wait_until_closed(hasty)


def test_connections_beyond_the_cap_are_told_so(hasty: Served) -> None:
    """A connection over the cap gets 503 with Retry-After, also if its request is on the way; others go on."""
    with client(hasty.address) as good:
        good.sendall(FETCH)
        read_answer(good)
        others = [client(hasty.address) for _ in range(HASTY.max_connections - 1)]
        wait_for(lambda: len(hasty.server.server_state.connections) == HASTY.max_connections, "filling the server")
        received, _ = exchange(hasty.address, FETCH, seconds=4.0)
        assert statuses_in(received) == [503]
        assert b"retry-after: 1\r\n" in received
        good.sendall(FETCH)
        assert statuses_in(read_answer(good)) == [200]
        for other in others:
            other.close()


def test_a_client_that_does_not_read_is_cut_off(hasty: Served) -> None:
    """An answer that nobody reads holds memory only until the write deadline (E19)."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(hasty.address)
        connection.settimeout(5)
        connection.sendall(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n")
        connection.recv(1)
        wait_until_closed(hasty)
        assert len(read_to_end(connection)) < BIG_ANSWER


def test_a_draining_server_answers_what_is_open_and_what_still_comes() -> None:
    """While leaving, running and next requests get their answer with `Connection: close`, and then the server ends."""
    with serving(Gateway(keep_alive=1.0)) as served, client(served.address) as idle, client(served.address) as busy:
        idle.sendall(FETCH)
        assert b"connection: close" not in read_answer(idle)
        busy.sendall(HELD)
        assert wait_for(served.gate.entered.is_set, "the request's arrival")
        silent = client(served.address)
        wait_for(lambda: len(served.server.server_state.connections) == 3, "the third connection")
        served.server.should_exit = True
        wait_for(lambda: served.border.draining, "the beginning of the drain")
        idle.sendall(FETCH)
        assert b"connection: close" in read_answer(idle)
        served.gate.open()
        assert b"connection: close" in read_answer(busy)
        with silent:
            assert read_to_end(silent) == b""
        served.thread.join(10)
        assert not served.thread.is_alive()
