"""Looks for batches that take suspiciously long: their worker is probed, and they get a second chance elsewhere.

Suspicious is far beyond what the model usually takes. The probe runs through the worker's event loop and decides
whether the worker gets more work; a batch of a worker that is only slow is hedged all the same.
Source: Dean & Barroso, "The Tail at Scale", CACM 2013.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.attempts import Attempt
from inference_core.queueing import Durations

CHECK_SECONDS = 0.05
STALL_FACTOR = 4.0
LEAST_STALL_SECONDS = 0.25
FIRST_STALL_SECONDS = 1.0
ENOUGH_DURATIONS = 20


def stall_seconds(durations: Durations, allowed: float) -> float:
    """Return after how many seconds a batch of a model is suspicious that has `allowed` seconds in all."""
    if len(durations) < ENOUGH_DURATIONS:
        # Little is known yet, and half the time has to be left for another worker.
        return min(allowed / 2, max(FIRST_STALL_SECONDS, STALL_FACTOR * durations.p99))
    return max(LEAST_STALL_SECONDS, STALL_FACTOR * durations.p99)


class Stalls:
    """One model's attempts under way, looked at every CHECK_SECONDS; `hedge` is called once for each that is late."""

    def __init__(self, hedge: Callable[[Attempt], None]) -> None:
        self._hedge = hedge
        self._attempts: set[Attempt] = set()
        self.durations = Durations()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, attempt: Attempt) -> None:
        """Watch an attempt."""
        self._attempts.add(attempt)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._check)

    def end(self, attempt: Attempt, *, answered: bool) -> None:
        """Stop watching; only an answer says how long the model usually takes."""
        self._attempts.discard(attempt)
        if answered:
            self.durations.add(attempt.seconds())

    def newest_seconds(self) -> float:
        """Return how long the attempt that began last has been under way; 0 where there is none."""
        return min([attempt.seconds() for attempt in self._attempts], default=0.0)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        for attempt in list(self._attempts):
            if not attempt.is_probed and attempt.seconds() > stall_seconds(self.durations, attempt.allowed):
                attempt.is_probed = True
                attempt.slot.suspect()
                self._hedge(attempt)
        if self._attempts:
            self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._check)
