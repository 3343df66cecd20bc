"""Row F08: connections that abuse HTTP/2 itself."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Self

from tests.e2e.catalogue_bench import Bench, row, unless
from tests.e2e.catalogue_calls import status_of, stub_of
from tests.e2e.catalogue_grpc import INFER, patient_request
from tests.e2e.http2 import (
    CANCEL,
    GOAWAY,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    Connection,
    call_fields,
    connection,
    frame,
    header_frames,
)
from tests.e2e.outcome import Outcome

FLOOD, RESETS = 20_000, 3_000
LARGEST = 2**24 - 1
Abuse = Callable[[Connection], None]


def _settings(opened: Connection) -> None:
    opened.send(frame(SETTINGS) * FLOOD)


def _pings(opened: Connection) -> None:
    opened.send(frame(PING, payload=b"12345678") * FLOOD)


def _resets(opened: Connection) -> None:
    block = call_fields(INFER.encode())
    for number in range(RESETS):
        stream = 2 * number + 1
        opened.send(header_frames(stream, block) + frame(RST_STREAM, 0, stream, CANCEL.to_bytes(4)))


def _oversized(opened: Connection) -> None:
    opened.send(LARGEST.to_bytes(3) + b"\x00\x00" + (1).to_bytes(4) + b"x" * 100_000)


def _even_stream(opened: Connection) -> None:
    opened.send(header_frames(2, call_fields(INFER.encode())))


def _endless_fields(opened: Connection) -> None:
    opened.send(frame(1, 0, 1, call_fields(INFER.encode())))
    for _ in range(2_000):
        opened.send(frame(9, 0, 1, b"\x00\x01a\x7f\x81\x07" + b"v" * 1024))


def _garbage(opened: Connection) -> None:
    opened.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")


ABUSES: dict[str, tuple[bytes, Abuse]] = {
    "another preface": (b"", _garbage),
    "SETTINGS flood": (PREFACE + frame(SETTINGS), _settings),
    "PING flood": (PREFACE + frame(SETTINGS), _pings),
    "rapid reset": (PREFACE + frame(SETTINGS), _resets),
    "a frame of 16 MiB": (PREFACE + frame(SETTINGS), _oversized),
    "an even stream": (PREFACE + frame(SETTINGS), _even_stream),
    "endless CONTINUATION": (PREFACE + frame(SETTINGS), _endless_fields),
}
QUIET_SECONDS = 0.3
LEAST_DIRECT = 0.95


@row("F08", f"abused connections: {', '.join(ABUSES)}, beside good clients")
def abuses(bench: Bench) -> Outcome:
    """Answer every request through the gateway and nearly all direct calls meanwhile, none much later than alone.

    gRPC's core ends some calls that no handler has taken yet as CANCELLED when thousands wait there; the gateway
    repeats those, and so may any client.
    """
    with stub_of(bench) as stub, bench.client() as client:
        direct = Asking(lambda: status_of(stub.ModelInfer.future(patient_request(0, 800), timeout=5)))
        gateway = Asking(lambda: str(client.post("/predict", json={"prompt": "fine"}).status_code))
        alone = [direct.ask() for _ in range(100)]
        with direct, gateway:
            ends = {name: _abused(bench.system.grpc_port, *abuse) for name, abuse in ABUSES.items()}
    statuses = Counter(status for status, _ in direct.answers)
    failed = [status for status, _ in gateway.answers if status != "200"]
    wrong = unless(not failed, f"{len(failed)} requests failed: {set(failed)}")
    wrong += unless(set(statuses) <= {"OK", "CANCELLED"}, f"direct calls: {dict(statuses)}")
    wrong += unless(statuses["OK"] > LEAST_DIRECT * len(direct.answers), f"direct calls: {dict(statuses)}")
    wrong += unless(len(gateway.answers) > 0, "no good request") + unless(
        _worst(direct.answers) < 2000, "a call waited"
    )
    figure = f"worst direct call {_worst(alone):.0f} ms alone, {_worst(direct.answers):.0f} ms beside"
    happened = f"{len(gateway.answers)} requests 200; direct calls {dict(statuses)}; "
    return Outcome(happened + ", ".join(f"{name}: {end}" for name, end in ends.items()), figure, wrong)


class Asking:
    """Asks again and again in a thread while it is entered; `answers` has each status with its seconds."""

    def __init__(self, question: Callable[[], str]) -> None:
        self._question = question
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers: list[tuple[str, float]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def ask(self) -> tuple[str, float]:
        """Ask once."""
        began = time.perf_counter()
        return self._question(), time.perf_counter() - began

    def _run(self) -> None:
        while not self._over.is_set():
            self.answers.append(self.ask())


def _abused(port: int, preface: bytes, abuse: Abuse) -> str:
    with connection(port, preface) as opened:
        try:
            abuse(opened)
        except (ConnectionError, TimeoutError):
            return "closed"
        opened.wait_at_most(QUIET_SECONDS)
        kinds = [found.kind for found in opened.frames()]
    return "GOAWAY" if GOAWAY in kinds else "closed" if opened.is_closed else "borne"


def _worst(calls: list[tuple[str, float]]) -> float:
    return max(seconds for _, seconds in calls) * 1000
