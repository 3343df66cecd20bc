"""Clients that open more than they need, and leave: good clients notice nothing, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.live import MOST_LISTENERS
from tests import web
from tests.e2e.catalogue_bench import Growth
from tests.e2e.catalogue_frames import Asking
from tests.e2e.http2 import PREFACE, SETTINGS, frame
from tests.e2e.system import System
from tests.gateway.http_vectors import statuses_in
from tests.waiting import wait_for

PROCESSES = 2
STREAMS, LEAVERS, ROUNDS, CONNECTIONS, MOST_GRPC = 500, 2000, 3, 200, 20
MOST_MEBIBYTES = 32
MOST_OF_A_STORM = 96
"""Mebibytes of two processes: a call that gRPC cancels leads back to itself, and waits for the collector."""

ONCE = 12
"""Descriptors that two processes may open when something is asked for the first time, and keep."""

PROMPT = {"prompt": "fine"}
MOCK = json.dumps({"features": [1.0, 2.0], "model_name": "v1-mock"})
STREAM = b"GET /console/api/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
PREDICT = (
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    % (len(MOCK), MOCK.encode())
)


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """Start a system that takes few connections over gRPC."""
    with tempfile.TemporaryDirectory(prefix="hub-", dir="/tmp") as folder:
        running = System(Path(folder), gateway={"max_grpc_connections": MOST_GRPC, "header_deadline": 2.0})
        try:
            running.start()
            yield running
        finally:
            running.stop()


def gateways(system: System) -> list[psutil.Process]:
    """Return the processes that serve, without gunicorn's arbiters."""
    return [child for pid in system.pids("gateway") for child in psutil.Process(pid).children()]


def descriptors(system: System) -> int:
    """Return how many file descriptors they have open."""
    return sum(process.num_fds() for process in gateways(system))


@contextlib.contextmanager
def asking(system: System, body: object) -> Iterator[Asking]:
    """Ask for predictions again and again meanwhile; every one must be answered."""
    with web.client(base_url=system.url, timeout=30) as client:
        good = Asking(lambda: str(client.post("/predict", json=body).status_code))
        with good:
            yield good
    assert good.answers
    assert {status for status, _ in good.answers} == {"200"}


def peeked(connection: socket.socket) -> bytes:
    """Return what has arrived, and leave it unread."""
    return connection.recv(4096, socket.MSG_PEEK)


def is_whole(connection: socket.socket) -> bool:
    """Tell whether a first moment of the stream has arrived, or the sentence that there is none."""
    answer = peeked(connection)
    return (b"data: " if statuses_in(answer) == [200] else b"close another page of the console") in answer


def opens(system: System) -> bool:
    """Tell whether a new listener gets a stream."""
    with web.stream("GET", f"{system.url}/console/api/live", timeout=10) as stream:
        return stream.is_success


def test_streams_that_nobody_reads_are_few(system: System) -> None:
    """Of 500 live streams each process opens 16 and refuses the others with 503 and a time to come again."""
    before = descriptors(system)
    with contextlib.ExitStack() as stack, Growth(gateways(system)) as growth, asking(system, PROMPT):
        opened = [
            stack.enter_context(socket.create_connection(("127.0.0.1", system.http_port), 10)) for _ in range(STREAMS)
        ]
        for connection in opened:
            connection.sendall(STREAM)
        answers = [peeked(connection) for connection in opened]
        statuses = Counter(status for answer in answers for status in statuses_in(answer))
        assert set(statuses) == {200, 503}
        assert sum(statuses.values()) == STREAMS
        assert statuses[200] <= PROCESSES * MOST_LISTENERS
        refused = [answer for answer in answers if statuses_in(answer) == [503]]
        assert refused
        assert all(b"retry-after: 1\r\n" in answer for answer in refused)
        wait_for(lambda: all(map(is_whole, opened)), "a moment or a sentence for everybody")
    assert growth.mebibytes < MOST_MEBIBYTES
    wait_for(lambda: descriptors(system) <= before + ONCE, "descriptors back")
    wait_for(lambda: opens(system), "a free place of one who left")


def serves(system: System) -> bool:
    """Tell whether a new gRPC client is answered."""
    with grpc.insecure_channel(f"127.0.0.1:{system.front_port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            found = stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.RpcError:
            return False
        return bool(found.status == health_pb2.HealthCheckResponse.SERVING)


def is_closed(connection: socket.socket) -> bool:
    """Tell whether the other side has closed, once it has said something or nothing more."""
    connection.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        try:
            while connection.recv(65536):
                pass
        except ConnectionError:
            return True
        return True
    return False


def test_connections_over_grpc_are_capped(system: System) -> None:
    """Those beyond the cap are closed at once, a client that was there before is answered, and room comes back."""
    before = descriptors(system)
    with contextlib.ExitStack() as stack, asking(system, PROMPT):
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{system.front_port}"))
        stub: Any = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status
        flood = [
            stack.enter_context(socket.create_connection(("127.0.0.1", system.front_port), 10))
            for _ in range(CONNECTIONS)
        ]
        for connection in flood:
            with contextlib.suppress(ConnectionError):
                connection.sendall(PREFACE + frame(SETTINGS))
        most = PROCESSES * MOST_GRPC
        closed = wait_for(
            lambda: (found := sum(map(is_closed, flood))) >= CONNECTIONS - most and found, "the end of the surplus"
        )
        assert closed < CONNECTIONS
        assert descriptors(system) <= before + most + MOST_GRPC
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status == health_pb2.HealthCheckResponse.SERVING
    wait_for(lambda: serves(system), "room for another client")


def test_a_silent_connection_over_grpc_is_given_up(system: System) -> None:
    """Who sends no preface within the header deadline gives its place back."""
    with socket.create_connection(("127.0.0.1", system.front_port), 10) as connection:
        wait_for(lambda: is_closed(connection), "the end of a silent connection")
    assert serves(system)


def leave(system: System, number: int) -> None:
    """Send a prediction and go without waiting for it: in order, or with a reset."""
    with socket.create_connection(("127.0.0.1", system.http_port), 10) as connection:
        connection.sendall(PREDICT)
        if number % 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def numbers(system: System, name: str) -> float:
    """Return the sum of a metric of all gateway processes."""
    page = web.get(f"{system.url}/metrics").raise_for_status().text
    lines = [line for line in page.splitlines() if line.startswith(f"inferencehub_gateway_{name}{{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_a_storm_of_clients_that_leave_leaves_nothing(system: System) -> None:
    """After three times 2,000 that send and go, nothing waits or runs; descriptors and memory are what they were."""
    before = descriptors(system)
    sizes = []
    for _ in range(ROUNDS):
        with asking(system, json.loads(MOCK)):
            for number in range(LEAVERS):
                leave(system, number)
        wait_for(lambda: descriptors(system) <= before + ONCE, "descriptors back")
        wait_for(lambda: numbers(system, "queue_rows") == numbers(system, "batches_in_flight") == 0, "idle queues", 30)
        sizes.append(sum(process.memory_info().rss for process in gateways(system)) / 2**20)
    assert sizes[-1] - sizes[0] < MOST_OF_A_STORM, sizes
    assert web.post(f"{system.url}/predict", content=MOCK, headers={"Content-Type": "application/json"}).is_success
