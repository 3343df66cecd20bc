"""Memory, processor time and ends of every program, as metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deploy.controller.rpc import Process
from otel.lives import Exit
from otel.metrics import ControllerMetrics
from otel.processes import processor_seconds, resident_bytes, tree

LOOK_SECONDS = 1.0


class Meters:
    """Reads /proc about once a second; a process that is down has no memory."""

    def __init__(self, metrics: ControllerMetrics) -> None:
        self._metrics = metrics
        self._due = 0.0
        self._seconds: dict[int, float] = {}

    def look(self, processes: Iterable[Process], now: float) -> None:
        """Measure every process, unless that was done less than LOOK_SECONDS ago; `now` is on the monotonic clock."""
        if now < self._due:
            return
        self._due = now + LOOK_SECONDS
        before, self._seconds = self._seconds, {}
        for process in processes:
            # A gateway is its arbiter and the process that serves.
            pids = tree(process.pid) if process.pid else []
            self._metrics.up.labels(process.name).set(bool(pids))
            self._metrics.memory.labels(process.name).set(sum(map(resident_bytes, pids)))
            self._metrics.seconds.labels(process.name).inc(sum(self._used(pid, before) for pid in pids))

    def _used(self, pid: int, before: Mapping[int, float]) -> float:
        used = self._seconds[pid] = processor_seconds([pid])
        # What a process used before this controller first saw it was counted by the controller before.
        return max(0.0, used - before.get(pid, used))

    def ended(self, exit_: Exit) -> None:
        """Count an exit by its cause, one word out of few."""
        cause = "stopped" if exit_.asked else exit_.signal or ("lost" if exit_.code is None else f"code {exit_.code}")
        self._metrics.exits.labels(exit_.process, cause).inc()
