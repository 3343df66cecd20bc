"""Clients that measure an HTTP server from outside: ordinary load, patience with slow clients, and random damage."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.gateway.http_vectors import GET, HOST, POST, VECTORS, exchange, statuses_in

Address = tuple[str, int]
BODY = b'{"text": "a small request"}'
REQUEST = POST + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
CLOSE = re.compile(rb"connection: *close", re.IGNORECASE)
HELD_CONNECTIONS = 50
DEFINED_5XX = frozenset({501, 503, 505})


@dataclass
class Tally:
    """What a load saw: answers with 200, and requests that got no answer or another one."""

    answered: int = 0
    lost: int = 0


async def load(address: Address, stop: asyncio.Event, clients: int = 12) -> Tally:
    """Send small requests until told to stop: a third fresh, a third kept alive, a third kept alive with pauses."""
    tally = Tally()
    kinds = ((False, 0.01), (True, 0.002), (True, 0.7))
    await asyncio.gather(*(_client(address, stop, tally, *kinds[number % len(kinds)]) for number in range(clients)))
    return tally


async def _client(address: Address, stop: asyncio.Event, tally: Tally, keep: bool, pause: float) -> None:  # noqa: FBT001  # a row of `kinds`
    streams = None
    while not stop.is_set():
        try:
            streams = streams or await asyncio.open_connection(*address)
            answered, reusable = await asyncio.wait_for(_ask(*streams), timeout=10)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            answered, reusable = False, False
        tally.answered += answered
        tally.lost += not answered
        if streams and not (keep and reusable):
            streams[1].close()
            streams = None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause * random.uniform(0.5, 1.5))  # noqa: S311  # spreads load, guards nothing
    if streams:
        streams[1].close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[bool, bool]:
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    length = LENGTH.search(head)
    body = await reader.readexactly(int(length[1])) if length else b""
    return head.startswith(b"HTTP/1.1 200 ") and body == BODY, not CLOSE.search(head)


def drops_underscores(address: Address) -> str:
    """Tell whether a field that differs from a real one by an underscore reaches the application (E11)."""
    received, _ = exchange(address, GET + b"X_Request_ID: a\r\nConnection: close\r\n\r\n", seconds=2)
    return "reaches the application" if b"x_request_id" in received.lower() else ""


def ends_slow_headers(address: Address, seconds: float) -> str:
    """Hold silent and half-header connections; tell how many are still open after that time (E17)."""
    return _still_open(address, (b"", GET + b"X: "), seconds)


def ends_idle_connections(address: Address, seconds: float) -> str:
    """Hold idle kept-alive connections; tell how many are still open after that time (E20)."""
    return _still_open(address, (GET + b"\r\n",), seconds)


def _still_open(address: Address, openings: tuple[bytes, ...], seconds: float) -> str:
    held = []
    for opening in openings * HELD_CONNECTIONS:
        held.append(socket.create_connection(address, timeout=seconds))
        held[-1].sendall(opening)
    deadline = time.monotonic() + seconds
    left = sum(not _closes(connection, deadline) for connection in held)
    return f"{left} of {len(held)} open after {seconds:g} s" if left else ""


def _closes(connection: socket.socket, deadline: float) -> bool:
    with connection:
        try:
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            while connection.recv(65536):
                connection.settimeout(max(0.01, deadline - time.monotonic()))
        except TimeoutError:
            return False
        except ConnectionError:
            pass
    return True


def ends_dripping_body(address: Address, seconds: float) -> str:
    """Send a body byte by byte; tell whether the server bears it longer than that time (E18)."""
    with socket.create_connection(address, timeout=0.1) as connection:
        connection.sendall(POST + b"Content-Length: 100000\r\n\r\n")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                connection.sendall(b"a")
                statuses = statuses_in(connection.recv(65536))
            except TimeoutError:
                continue
            return "" if statuses == [408] else f"answers {statuses}"
    return f"still reading after {seconds:g} s"


def cuts_slow_readers(address: Address, seconds: float, answer_bytes: int) -> str:
    """Ask for a long answer and do not read it for that time; tell whether it was kept until then (E19)."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(address)
        connection.sendall(b"GET /big HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        time.sleep(seconds)
        connection.settimeout(5)
        received = 0
        with contextlib.suppress(OSError):
            while piece := connection.recv(65536):
                received += len(piece)
    return f"kept {answer_bytes >> 20} MiB for {seconds:g} s" if received >= answer_bytes else ""


def damaged(generator: random.Random) -> Iterator[bytes]:
    """Yield requests for ever that were sound or were attacks, each with a few random bytes changed, cut or doubled."""
    seeds = [REQUEST, GET + b"\r\n", *(vector.data[:4096] for vector in VECTORS)]
    while True:
        data = bytearray(generator.choice(seeds))
        for _ in range(generator.randint(1, 6)):
            place = generator.randrange(len(data) or 1)
            cut = place + generator.randint(0, 4)
            patch = generator.choice([b"", generator.randbytes(1), b"\r\n", b"\x00", b"0", bytes(data[place:cut]) * 2])
            data[place:cut] = patch
        yield bytes(data)


def survives_damage(address: Address, seed: int, seconds: float) -> tuple[int, int]:
    """Send damaged requests for that time; return how many, and how many answers were undefined 5xx (E21)."""
    deadline = time.monotonic() + seconds
    sent = failed = 0
    for data in damaged(random.Random(seed)):  # noqa: S311  # a printed seed makes the run repeatable
        if time.monotonic() >= deadline:
            break
        received, _ = exchange(address, data, seconds=0.02)
        failed += sum(status >= 500 and status not in DEFINED_5XX for status in statuses_in(received))  # server errors
        sent += 1
    return sent, failed
