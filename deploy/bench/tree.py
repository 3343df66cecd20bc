"""What a server's whole process tree costs: CPU time and memory of everything below one keeper."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

MEBIBYTE = 2**20
SETTLED_SHARE = 0.1  # of one core
WINDOW_SECONDS = 0.25
SETTLE_SECONDS = 10.0


@dataclass(frozen=True)
class Memory:
    """MiB in RAM; `rss` counts shared pages once for each process, `pss` once in all."""

    pss: float
    rss: float


class Tree:
    """Every descendant of one process, without itself."""

    def __init__(self, root: int) -> None:
        self._root = psutil.Process(root)

    def processes(self) -> list[psutil.Process]:
        """Return those that live now; orphans count, because the root adopts them."""
        return self._root.children(recursive=True)

    def cpu_seconds(self) -> float:
        """Return user and system time so far, that of ended and reaped processes included."""
        total = self._root.cpu_times().children_user + self._root.cpu_times().children_system
        for process in self.processes():
            try:
                total += sum(process.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
        return total

    def memory(self) -> Memory:
        """Return what all of them hold now."""
        pss = rss = 0
        for process in self.processes():
            try:
                full = process.memory_full_info()
            except psutil.NoSuchProcess:
                continue
            pss, rss = pss + full.pss, rss + full.rss
        return Memory(pss / MEBIBYTE, rss / MEBIBYTE)

    def memory_by_program(self) -> dict[str, float]:
        """Return the MiB (PSS) of each of supervisord's programs; what is not one of them is under its own name."""
        held: dict[str, float] = {}
        for process in self.processes():
            try:
                name = process.environ().get("SUPERVISOR_PROCESS_NAME") or process.name()
                held[name] = held.get(name, 0.0) + process.memory_full_info().pss / MEBIBYTE
            except psutil.NoSuchProcess:
                continue
        return held

    def settle(self) -> None:
        """Wait until the tree is nearly idle, so that its last processes have started; at most 10 seconds."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(WINDOW_SECONDS)
            if self.cpu_seconds() - before < SETTLED_SHARE * WINDOW_SECONDS:
                return
