"""Rows E17 to E20: clients that wait, drip, do not read, or stay."""

from __future__ import annotations

import contextlib
import secrets
import socket
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil

from tests.e2e.catalogue_bench import MEBIBYTE, Bench, Growth, row, unless
from tests.e2e.catalogue_http import attacked
from tests.e2e.outcome import Outcome
from tests.gateway.http_vectors import HOST, statuses_in
from tests.waiting import wait_for

SILENT, HALF, IDLE = 500, 500, 1000
MOST_UNREAD = 100
ROUNDS, REQUESTS = 7, 200
MOST_TIMES_SLOWER = 2.0
HALF_A_HEADER = b"GET /health HTTP/1.1\r\n" + HOST + b"X-Slow: "
ASK = b"GET /health HTTP/1.1\r\n" + HOST


@contextlib.contextmanager
def connections(bench: Bench, words: dict[bytes, int]) -> Iterator[list[socket.socket]]:
    """Open that many connections for each beginning of a request."""
    with contextlib.ExitStack() as stack:
        opened = []
        for word, count in words.items():
            for _ in range(count):
                connection = stack.enter_context(socket.create_connection(bench.address, timeout=10))
                connection.sendall(word)
                opened.append(connection)
        yield opened


def wait_until_ended(opened: list[socket.socket]) -> int:
    """Wait until the server has closed every connection; return how many it answered before."""
    remaining, answered = set(opened), set()

    def over() -> bool:
        for connection in list(remaining):
            connection.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                if _read(connection):
                    answered.add(connection)
                else:
                    remaining.discard(connection)
        return not remaining

    wait_for(over, "the end of every connection")
    return len(answered)


def _read(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


def good_seconds(bench: Bench, count: int) -> list[float]:
    """Return how long each of that many good requests took; every one must succeed."""
    seconds = []
    with bench.client() as client:
        for _ in range(count):
            began = time.perf_counter()
            client.post("/predict", json={"prompt": "What a wonderful day"}).raise_for_status()
            seconds.append(time.perf_counter() - began)
    return seconds


@row("E17", f"slowloris: {SILENT} silent connections and {HALF} with half a header, beside a good client")
def slowloris(bench: Bench) -> Outcome:
    """Every good request succeeds, and the others are closed at the header deadline."""
    figure, slower = _slowdown(bench) if bench.measuring else ("", 0.0)
    with connections(bench, {b"": SILENT, HALF_A_HEADER: HALF}) as opened:
        began = time.monotonic()
        good_seconds(bench, 50)
        answered = wait_until_ended(opened)
        took = time.monotonic() - began
    wrong = unless(answered == HALF, f"{answered} got an answer") + unless(slower < MOST_TIMES_SLOWER, "too slow")
    happened = f"every good request 200; {SILENT} closed silently and {answered} with 408 within {took:.1f} s"
    return Outcome(happened, figure, wrong)


def _slowdown(bench: Bench) -> tuple[str, float]:
    alone, beside = [], []
    good_seconds(bench, REQUESTS)
    for _ in range(ROUNDS):
        alone.append(good_seconds(bench, REQUESTS))
        with connections(bench, {b"": SILENT, HALF_A_HEADER: HALF}) as opened:
            beside.append(good_seconds(bench, REQUESTS))
            wait_until_ended(opened)
    typical = {of: (_typical(alone, of), _typical(beside, of)) for of in (50, 99)}
    # Neighbouring rounds are compared, so that other load on the machine falls on both.
    times = statistics.median(_percentile(b, 99) / _percentile(a, 99) for a, b in zip(alone, beside, strict=True))
    shown = ", ".join(f"p{of} {a:.2f} -> {b:.2f} ms" for of, (a, b) in typical.items())
    return f"{shown}, p99 x {times:.2f} (medians of {ROUNDS} rounds of {REQUESTS})", times


def _percentile(seconds: list[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100)[percent - 1]


def _typical(rounds: list[list[float]], percent: int) -> float:
    return statistics.median(_percentile(seconds, percent) for seconds in rounds) * 1000


@row("E18", "a body that stalls; a body that drips, byte by byte, beyond the deadline")
def slow_bodies(bench: Bench) -> Outcome:
    """408 at the body's deadline for both."""
    with ThreadPoolExecutor(1) as thread:
        stalling = thread.submit(attacked, "E18", bench)
        began = time.monotonic()
        received = _dripped(bench)
        took = time.monotonic() - began
        stalled = stalling.result()
    wrong = stalled.wrong + unless(statuses_in(received) == [408], f"statuses {statuses_in(received)}")
    return Outcome(f"stalled: {stalled.happened}; dripped: 408 after {took:.1f} s", wrong=wrong)


def _dripped(bench: Bench) -> bytes:
    head = b"POST /predict HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 10000\r\n\r\n"
    with socket.create_connection(bench.address, timeout=0.05) as connection:
        connection.sendall(head)

        def drip() -> bytes:
            connection.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                return connection.recv(65536)
            return b""

        return wait_for(drip, "an answer to a dripping body")


@row("E19", "a client that asks and asks, and never reads an answer")
def slow_read(bench: Bench) -> Outcome:
    """Answer few of them, buffer little, and close; a long answer, of which there is none here, has a deadline."""
    own = secrets.token_hex(16)
    began = time.monotonic()
    with Growth(bench.gateways()) as growth, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        connection.connect(bench.address)
        sent = _sent_until_closed(connection, ASK + b"X-Request-Id: %b\r\n\r\n" % own.encode())
    took = time.monotonic() - began
    answered = sum(own.encode() in line for line in bench.log_lines())
    wrong = unless(growth.mebibytes < 5, "memory grew") + unless(0 < answered <= MOST_UNREAD, f"{answered} answered")
    happened = (
        f"not offered: long answers; of {sent} short ones asked for {answered} were made, closed after {took:.1f} s"
    )
    return Outcome(happened, f"memory + {growth.mebibytes:.1f} MiB", wrong)


def _sent_until_closed(connection: socket.socket, ask: bytes) -> int:
    sent = 0
    try:
        while sent < 100 * MEBIBYTE:
            sent += connection.send(ask * 100)
    except ConnectionError:
        return sent // len(ask)
    raise AssertionError("the server read 100 MB of requests whose answers nobody took")


@row("E20", f"{IDLE} idle keep-alive connections")
def idle(bench: Bench) -> Outcome:
    """All are closed after `keep_alive`, and the file descriptors come back."""
    gateways = bench.gateways()
    before = _descriptors(gateways)
    with Growth(gateways) as growth, connections(bench, {ASK + b"\r\n": IDLE}) as opened:
        answered = wait_until_ended(opened)
    after = wait_for(lambda: (now := _descriptors(gateways)) <= before + 2 and now, "descriptors back")
    wrong = unless(answered == IDLE, f"{answered} answered") + unless(growth.descriptors > before + 2, "none stayed")
    return Outcome(f"{answered} x 200, then closed", f"descriptors {before} -> {growth.descriptors} -> {after}", wrong)


def _descriptors(processes: list[psutil.Process]) -> int:
    return sum(process.num_fds() for process in processes)
