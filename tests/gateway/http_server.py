"""Real servers for the HTTP tests: our protocol in a thread, or the worker under gunicorn in a process."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvloop
from uvicorn.config import Config
from uvicorn.server import Server

from gateway.http_connection import Border
from gateway.http_repeating import guarded_protocol
from inference_core.settings import Gateway
from tests.gateway.http_app import Gate, build_app
from tests.waiting import wait_for

CHECKOUT = Path(__file__).parents[2]
LISTENING_PATIENCE = 15.0


class AnnouncedServer(Server):
    """A uvicorn server that tells another thread when it accepts."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.accepting = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell."""
        await super().startup(sockets)
        self.accepting.set()


@dataclass(frozen=True)
class Served:
    """A running server: where it listens, and what tests may look at."""

    address: tuple[str, int]
    server: AnnouncedServer
    border: Border
    gate: Gate
    thread: threading.Thread


@contextlib.contextmanager
def serving(limits: Gateway) -> Iterator[Served]:
    """Serve the tiny application in a thread; a test that leaves makes the server leave."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    gate = Gate()
    protocol = guarded_protocol(limits)
    config = Config(build_app(gate), http=protocol, ws="none", log_config=None, access_log=False)
    config.timeout_graceful_shutdown = 5
    server = AnnouncedServer(config)
    thread = threading.Thread(target=uvloop.run, args=(server.serve([listener]),))
    thread.start()
    assert server.accepting.wait(LISTENING_PATIENCE), "the server did not start"
    try:
        yield Served(listener.getsockname(), server, protocol.border, gate, thread)
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(LISTENING_PATIENCE)
        assert not thread.is_alive(), "the server did not stop"


@contextlib.contextmanager
def gunicorn(settings: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], tuple[str, int]]]:
    """Run the worker under gunicorn with those settings and options; return the arbiter and its address."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        command = [sys.executable, "-m", "gunicorn", "-k", "gateway.http_worker.GatewayWorker", "-b", "fd://0"]
        command += ["--no-control-socket", *options, "tests.gateway.http_app:app"]
        environment = os.environ | {"INFERENCEHUB_SETTINGS": str(settings)}
        arbiter = subprocess.Popen(command, stdin=listener.fileno(), cwd=CHECKOUT, env=environment)
        try:
            yield arbiter, listener.getsockname()
        finally:
            arbiter.terminate()
            arbiter.wait(LISTENING_PATIENCE)


def client(address: tuple[str, int], seconds: float = 5.0) -> socket.socket:
    """Open one connection; `seconds` bounds each of its calls."""
    return socket.create_connection(address, timeout=seconds)


def read_to_end(connection: socket.socket) -> bytes:
    """Return everything until the server closes."""
    received = bytearray()
    while piece := connection.recv(65536):
        received += piece
    return bytes(received)


def read_answer(connection: socket.socket) -> bytes:
    """Return one response that has a Content-Length."""
    received = bytearray()
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536) or _ended()
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(65536) or _ended()
    return head + b"\r\n\r\n" + body


def _ended() -> bytes:
    raise AssertionError("the connection ended in the middle of a response")


def wait_until_closed(served: Served) -> None:
    """Wait until the server has no connection left."""
    wait_for(lambda: not served.server.server_state.connections, "closing all connections")
