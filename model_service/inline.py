"""Whether a model is quick enough to be computed on the event loop, which saves the turn through a thread.

The danger is a model that blocks the loop: while it does, no call is answered and no probe. So only one that was always
quick for a while may, only with inputs like those, and one that was ever slow there is sent away for long.
"""

from __future__ import annotations

import time
from resource import RUSAGE_THREAD, getrusage

from inference_core.deadline import now

NEEDED = 64
GROWTH = 2
FIRST_PENALTY_SECONDS = 60.0
LONGEST_PENALTY_SECONDS = 3600.0


class Stopwatch:
    """Times a computation in the thread that does it, in seconds; runs from the start."""

    __slots__ = ("_processor", "_waits", "started_at")

    def __init__(self) -> None:
        self._processor = time.thread_time()
        self._waits = getrusage(RUSAGE_THREAD).ru_nvcsw
        self.started_at = now()

    def judged(self, seconds: float, enough: float, *, only_computes: bool) -> float:
        """Return how slow a computation was that took that long by the clock; what is below `enough` is as it is.

        A thread that had to hand the processor to others is not slow, so its processor time counts, unless it gave it
        away to wait for something. With `only_computes` (as in Runtime) that was the interpreter lock at most.
        """
        if seconds <= enough:
            return seconds
        waited = getrusage(RUSAGE_THREAD).ru_nvcsw > self._waits
        return seconds if waited and not only_computes else time.thread_time() - self._processor


class InlineSwitch:
    """Decides for one model, from how slow its computations were judged; times in seconds, `limit` 0 means never."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._quick = 0
        self._largest = 0
        self._penalty = FIRST_PENALTY_SECONDS
        self._banned_until = 0.0

    @property
    def is_on(self) -> bool:
        """Whether the model computes on the loop now."""
        return self._quick >= NEEDED

    def allows(self, size: int) -> bool:
        """Tell whether inputs of that many bytes may be computed on the loop: not much larger ones than before."""
        return self._quick >= NEEDED and size <= GROWTH * self._largest

    def note(self, size: int, seconds: float, at: float, *, on_loop: bool) -> None:
        """Note a computation of that many bytes that ended at a time on the clock of Deadline."""
        if seconds <= self.limit:
            if at >= self._banned_until:
                self._quick += 1
                self._largest = max(self._largest, size)
            return
        self._quick = self._largest = 0
        if on_loop:
            self._banned_until = at + self._penalty
            self._penalty = min(LONGEST_PENALTY_SECONDS, 2 * self._penalty)
