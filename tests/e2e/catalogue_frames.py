"""Row F08: connections that abuse HTTP/2 itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tests.e2e.catalogue_bench import Bench, Outcome, row, unless
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


@row("F08", f"abused connections: {', '.join(ABUSES)}, beside a good client")
def abuses(bench: Bench) -> Outcome:
    """Every good call succeeds meanwhile, none much later than alone, and the worker goes on."""
    with stub_of(bench) as stub:

        def good_call() -> tuple[str, float]:
            began = time.perf_counter()
            return status_of(stub.ModelInfer.future(patient_request(0, 800), timeout=5)), time.perf_counter() - began

        def ask() -> None:
            while not over.is_set():
                beside.append(good_call())

        alone = [good_call() for _ in range(100)]
        beside: list[tuple[str, float]] = []
        over = threading.Event()
        asking = threading.Thread(target=ask)
        asking.start()
        try:
            ends = {name: _abused(bench.system.grpc_port, *abuse) for name, abuse in ABUSES.items()}
        finally:
            over.set()
            asking.join()
    failed = [status for status, _ in beside if status != "OK"]
    wrong = unless(not failed, f"{len(failed)} good calls failed") + unless(len(beside) > 0, "no good call")
    figure = f"worst good call {_worst(alone):.0f} ms alone, {_worst(beside):.0f} ms beside"
    happened = f"{len(beside)} good calls OK; " + ", ".join(f"{name}: {end}" for name, end in ends.items())
    return Outcome(happened, figure, wrong + unless(_worst(beside) < 1000, "a good call waited"))


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
