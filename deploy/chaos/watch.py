"""Watches a system from outside: is everything there, and since when."""

from __future__ import annotations

import http.client
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference_core.names import SERVICE

PROBE_SECONDS = 0.05
ANSWER_SECONDS = 0.3
PAUSE_SECONDS = 0.02
CHANNEL = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),  # in truth the connect timeout
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass(frozen=True)
class Change:
    """From that moment on the monotonic clock, something was well or not."""

    moment: float
    well: bool


@dataclass
class Probe:
    """One thing that is asked again and again; `ask` tells whether it is well."""

    name: str
    ask: Callable[[], bool]
    changes: list[Change] = field(default_factory=list)

    def look(self) -> None:
        """Ask once, and note a change."""
        well = self.ask()
        if not self.changes or self.changes[-1].well != well:
            self.changes.append(Change(time.monotonic(), well))


class Watch:
    """Asks every probe in a thread of its own while it is entered."""

    def __init__(self, probes: Iterable[Probe]) -> None:
        self._probes = tuple(probes)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._look, args=(probe,)) for probe in self._probes]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def changes(self) -> dict[str, list[Change]]:
        """Return what was seen so far, by probe."""
        return {probe.name: list(probe.changes) for probe in self._probes}

    def wait_until_well(self, since: float, seconds: float, steady: float) -> bool:
        """Wait until everything has been well for `steady` seconds after `since`; tell whether that came in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            back = well_again(self.changes(), since)
            if time.monotonic() - max(back, since) >= steady:
                return True
            time.sleep(PAUSE_SECONDS)
        return False

    def _look(self, probe: Probe) -> None:
        while not self._over.wait(PROBE_SECONDS):
            probe.look()


def well_again(changes: dict[str, list[Change]], since: float) -> float:
    """Return when the last of what was not well after `since` became well: `since` if all was, infinity if not all is.

    Both are moments on the monotonic clock.
    """
    latest = since
    for seen in changes.values():
        if not seen or not seen[-1].well:
            return math.inf
        latest = max(latest, seen[-1].moment)
    return latest


def slot_probe(slot: int, socket: Path) -> Probe:
    """Return a probe that asks a worker for its health, over the socket that the gateway uses."""
    channel = grpc.insecure_channel(f"unix:{socket}", CHANNEL)
    stub: Any = health_pb2_grpc.HealthStub(channel)  # the stub is untyped

    def serving() -> bool:
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=ANSWER_SECONDS)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return Probe(f"slot {slot}", serving)


def ready_probe(port: int) -> Probe:
    """Return a probe that asks the gateway whether it can answer, and has no reason why not entirely."""

    def ready() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/ready")
            report = json.loads(connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return bool(report["ready"]) and not report["reasons"]

    return Probe("/ready", ready)


def members_probe(members: Callable[[], Sequence[int]], count: int) -> Probe:
    """Return a probe that counts the gateway's processes."""
    return Probe("gateway members", lambda: len(members()) == count)
