"""The system that the faults happen to: its processes by what they do, found without asking supervisord.

Whoever asks supervisord wakes it, and it then notices a dead process sooner than it would by itself.
"""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from deploy.trial import Trial
from otel import processes

WORKER, GATEWAY, CONTROLLER = "model_service", "gunicorn", "deploy.controller"


@dataclass
class Target:
    """A running trial; `gateway_kills` are the moments, on the monotonic clock, when a gateway member was killed."""

    trial: Trial
    workers_wanted: int
    gateways_wanted: int
    chance: random.Random
    gateway_kills: list[float] = field(default_factory=list)

    def workers(self) -> list[int]:
        """Return the pids of the workers that are there, by slot."""
        found = self._programs(WORKER)
        return sorted(found, key=lambda pid: processes.command(pid)[-1:])

    def gateways(self) -> list[int]:
        """Return the pids of the gunicorn arbiters that have a process serving."""
        return [pid for pid in self._programs(GATEWAY) if processes.children(pid)]

    def controller(self) -> int | None:
        """Return the pid of the controller, None where this system has none."""
        return next(iter(self._programs(CONTROLLER)), None)

    def serving(self) -> list[int]:
        """Return every process that takes part in answering: gateway processes and workers."""
        return [process for pid in (*self.gateways(), *self.workers()) for process in processes.tree(pid)]

    def kill_gateway(self, pid: int) -> None:
        """SIGKILL a whole gateway member: the arbiter and the process that serves below it."""
        if os.getpgid(pid) != pid:
            raise ProcessLookupError(f"{pid} leads no process group")
        self.gateway_kills.append(time.monotonic())
        os.killpg(pid, signal.SIGKILL)

    def _programs(self, word: str) -> list[int]:
        supervisord = processes.supervisord_of(self.trial.run_folder)
        return [pid for pid in processes.children(supervisord) if word in _program(processes.command(pid))]


def _program(command: list[str]) -> list[str]:
    """Return what an interpreter was asked to run: the name of its file, or of its module behind -m."""
    return [Path(part).name for part in command[1:3]]


def signal_if_there(pid: int, number: signal.Signals, since: float) -> bool:
    """Send a signal to a process unless it is gone or another has its pid now; tell whether it was sent."""
    if processes.started(pid) != since:
        return False
    os.kill(pid, number)
    return True
