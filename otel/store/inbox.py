"""What stands between the receiver and the writer: bounded in bytes, so that a slow disk never fills the memory."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Arrival(NamedTuple):
    """One export: the message and how many bytes it has."""

    request: ExportTraceServiceRequest
    size: int


class Inbox:
    """Takes arrivals from any thread and gives them to one."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._arrivals: deque[Arrival] = deque()
        self._changed = threading.Condition()
        self._closed = self._is_short = False

    @property
    def bytes(self) -> int:
        """How many bytes wait."""
        return self._bytes

    def offer(self, request: ExportTraceServiceRequest) -> bool:
        """Queue an export; False where there is no room for it. An empty inbox takes any, so that none is too large."""
        arrival = Arrival(request, request.ByteSize())
        with self._changed:
            if self._closed or (self._arrivals and self._bytes + arrival.size > self._max_bytes):
                self._is_short = True
                self._changed.notify()
                return False
            self._bytes += arrival.size
            self._arrivals.append(arrival)
            self._changed.notify()
            return True

    def take(self, max_bytes: int, seconds: float, together: float = 0.0) -> list[Arrival]:
        """Return what waits, about `max_bytes` of it; nothing where nothing comes within so many seconds.

        Once something has come, others may join it for `together` seconds, or until there is as much as is taken at
        once, or half of what there is room for, or until one finds no room.
        """
        taken: list[Arrival] = []
        size = 0
        with self._changed:
            if not self._arrivals and not self._closed:
                self._changed.wait(seconds)
            if self._arrivals and together:
                enough = min(max_bytes, self._max_bytes // 2)
                self._changed.wait_for(lambda: self._closed or self._is_short or self._bytes >= enough, together)
            self._is_short = False
            while self._arrivals and size < max_bytes:
                taken.append(self._arrivals.popleft())
                size += taken[-1].size
            self._bytes -= size
        return taken

    def close(self) -> None:
        """Take nothing more and let `take` return at once."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def is_drained(self) -> bool:
        """Tell whether it is closed and empty."""
        return self._closed and not self._arrivals
