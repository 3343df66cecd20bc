"""A pidfd for each running program: tells at once when it ends, and signals that process and no later one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable


class Handles:
    """The pidfds; needs a running event loop. `on_end` is called when one of the processes ends."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._open: dict[int, int] = {}

    def keep(self, pids: Iterable[int]) -> None:
        """Open what is new, close what is no longer among the pids."""
        wanted = set(pids)
        for pid in self._open.keys() - wanted:
            self._close(pid)
        for pid in wanted - self._open.keys():
            self._add(pid)

    def kill(self, pid: int) -> None:
        """Send SIGKILL to a kept process; one that has ended meanwhile is left in peace."""
        if descriptor := self._open.get(pid):
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            except ProcessLookupError:
                self._on_end()

    def close(self) -> None:
        """Close all."""
        self.keep(())

    def _add(self, pid: int) -> None:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self._on_end()
            return
        self._open[pid] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._ended, descriptor)

    def _ended(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)  # it stays readable
        self._on_end()

    def _close(self, pid: int) -> None:
        descriptor = self._open.pop(pid)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
