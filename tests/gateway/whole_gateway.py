"""The whole gateway in a thread, behind its own HTTP protocol, with a fake worker in the same event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import msgspec
import numpy as np
import uvloop
from uvicorn.config import Config

from gateway.app import create_app
from gateway.direct import DirectPredict
from gateway.http_connection import Border, GuardedConnection, Phase
from gateway.http_repeating import guarded_protocol
from inference_core.settings import Settings
from inference_core.tensors import Arrays
from tests.gateway.fake_worker import Asked, FakeWorker, Running, echo, serving
from tests.gateway.http_server import LISTENING_PATIENCE, AnnouncedServer, client
from tests.waiting import wait_for

HELD = 4242
"""A row that begins with it is answered when the test says so."""

STATUSES = {
    9001: grpc.StatusCode.INVALID_ARGUMENT,
    9002: grpc.StatusCode.NOT_FOUND,
    9003: grpc.StatusCode.UNAVAILABLE,
    9004: grpc.StatusCode.INTERNAL,
    9005: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
ODD = 9009
"""A row that begins with it gets a class that is no number, which nobody foresaw."""

Normal = tuple[bytes, list[bytes], bytes]
ID = re.compile(rb"[0-9a-f]{32}")


class Complaints(logging.Handler):
    """Keeps what asyncio, uvicorn and gRPC report as errors; there is never a good reason for one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.records.append(self.format(record))


@dataclass(repr=False)
class Gateway:
    """A running gateway and its worker."""

    address: tuple[str, int]
    server: AnnouncedServer
    border: Border
    thread: threading.Thread
    worker: FakeWorker
    seen: Counter[str] = field(default_factory=Counter)
    loop: asyncio.AbstractEventLoop | None = None
    go: asyncio.Event = field(default_factory=asyncio.Event)
    worker_serves: Running | None = None

    def release(self) -> None:
        """Answer what is held, now and later."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.go.set)

    def stop_worker(self) -> None:
        """Cut the line to the worker for good."""
        assert self.loop is not None
        assert self.worker_serves is not None
        self.loop.call_soon_threadsafe(self.worker_serves.line.cut)

    def connections(self) -> list[GuardedConnection]:
        """Return the open connections."""
        return [found for found in list(self.server.server_state.connections) if isinstance(found, GuardedConnection)]

    def held(self) -> int:
        """Return how many calls are held."""
        return sum(not asked.ended or asked.ended == "failed" for asked in self.worker.calls if asked.values == [HELD])

    def send(self, *pieces: bytes) -> bytes:
        """Send the pieces of one request, each after the one before was read, and return the whole answer."""
        with client(self.address) as connection:
            for piece in pieces[:-1]:
                connection.sendall(piece)
                wait_for(self._reads_a_body, "reading the piece before", interval=0.001)
            connection.sendall(pieces[-1])
            connection.shutdown(socket.SHUT_RD) if not pieces[-1] else None
            return read_one(connection)

    def _reads_a_body(self) -> bool:
        return any(found.phase is Phase.BODY for found in self.connections())


def read_one(connection: socket.socket) -> bytes:
    """Return one answer: what its Content-Length says, or everything until the end."""
    received = bytearray()
    while b"\r\n\r\n" not in received or received.startswith(b"HTTP/1.1 100"):
        if received.startswith(b"HTTP/1.1 100") and b"\r\n\r\n" in received:
            del received[: received.index(b"\r\n\r\n") + 4]
            continue
        piece = connection.recv(65536)
        if not piece:
            return bytes(received)
        received += piece
    length = re.search(rb"content-length: (\d+)", received)
    end = received.index(b"\r\n\r\n") + 4 + int(length[1] if length else 0)
    while len(received) < end:
        received += connection.recv(65536)
    return bytes(received)


def normal(answer: bytes) -> Normal:
    """Return an answer's status line, sorted header fields and body, with what differs by nature taken out."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    kept = [ID.sub(b"<id>", line) for line in fields if not line.startswith(b"date:")]
    return status, sorted(kept), ID.sub(b"<id>", body)


def post(body: bytes, *fields: str, target: str = "/predict", version: str = "1.1", method: str = "POST") -> bytes:
    """Return a request; the fields replace the usual ones of the same name."""
    named = {field.partition(":")[0].lower() for field in fields}
    usual = ["Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines = [field for field in usual if field.partition(":")[0].lower() not in named]
    sent = [line for line in (*lines, *fields) if not line.endswith(":none")]
    return "\r\n".join([f"{method} {target} HTTP/{version}", *sent, "", ""]).encode("latin-1") + body


def features(*values: float) -> bytes:
    """Return a body of one row."""
    return json.dumps({"features": values, "model_name": "tiny"}).encode()


def _answer(model: str, inputs: Arrays) -> Arrays:
    if model == "embedder":
        return {"vector": inputs.popitem()[1]}
    if "features" not in inputs:
        return echo(model, {"features": inputs["prompt"].astype("S").view("u1").reshape(1, -1)[:, :1].astype("<f4")})
    outputs = echo(model, inputs)
    if outputs["class_id"][0] == ODD:
        outputs["class_id"] = np.array([b"odd"], object)
    return outputs


@contextlib.contextmanager
def gateway(otlp_endpoint: str = "", **limits: object) -> Iterator[Gateway]:
    """Serve the whole gateway in a thread; a test that leaves makes it leave."""
    with tempfile.TemporaryDirectory(prefix="gate-") as folder, contextlib.ExitStack() as stack:
        document = {
            "gateway": {"deadline": 2.0, **limits},
            "inference": {"workers": 1},
            "telemetry": {"otlp_endpoint": otlp_endpoint, "sample_ratio": 1.0, "log_lines_per_second": 100_000.0},
            "layout": {"run_folder": folder},
        }
        complaints = Complaints()
        stack.callback(logging.getLogger().removeHandler, complaints)
        logging.getLogger().addHandler(complaints)
        running = _running(msgspec.convert(document, Settings), stack)
        assert running.server.accepting.wait(LISTENING_PATIENCE), "the gateway did not start"
        try:
            yield running
        finally:
            running.release()
            running.server.should_exit = True
            running.thread.join(LISTENING_PATIENCE)
            assert not running.thread.is_alive(), "the gateway did not stop"
            assert complaints.records == []


def _running(settings: Settings, stack: contextlib.ExitStack) -> Gateway:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=512))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)  # what a client does not read shows soon
    protocol = guarded_protocol(settings.gateway)
    config = Config(create_app(settings), http=protocol, ws="none", lifespan="on", log_config=None, access_log=False)
    config.timeout_graceful_shutdown = 5
    worker = FakeWorker(answer=_answer, reason="busy")

    async def main() -> None:
        running.loop = asyncio.get_running_loop()
        async with serving(worker, Path(settings.worker_socket(0))) as running.worker_serves:
            await running.server.serve([listener])

    thread = threading.Thread(target=lambda: uvloop.run(main()))
    running = Gateway(listener.getsockname(), AnnouncedServer(config), protocol.border, thread, worker)

    async def before(asked: Asked) -> None:
        if asked.inputs.get("features") is not None and HELD in asked.values:
            await running.go.wait()

    def failing(asked: Asked) -> grpc.StatusCode | None:
        return STATUSES.get(asked.values[0]) if "features" in asked.inputs else None

    worker.before, worker.failing = before, failing
    _count_direct(running, stack)
    thread.start()
    return running


def _count_direct(running: Gateway, stack: contextlib.ExitStack) -> None:
    original = DirectPredict.__call__

    def counting(self: DirectPredict, *arguments: object) -> object:
        running.seen["direct"] += 1
        return original(self, *arguments)  # type: ignore[arg-type]  # as they came

    DirectPredict.__call__ = counting  # type: ignore[method-assign,assignment]  # tests ask which way a request went
    stack.callback(setattr, DirectPredict, "__call__", original)
