"""Whether a model is quick enough to be computed on the event loop, which saves the turn through a thread.

The danger is a model that blocks the loop: while it does, no call is answered and no probe. So only one that was quick
NEEDED times in a row may compute there, and only with inputs like those. On a busy machine any computation can take
many times its usual, so what counts there is how long the loop was held up in all: one that holds it for
MOST_HELD_SECONDS, or for more than HELD_SHARE of the time, is sent away for long.
"""

from __future__ import annotations

import threading
import time
from resource import RUSAGE_THREAD, getrusage

from inference_core.deadline import now

NEEDED = 64
GROWTH = 2
HELD_SHARE = 0.02
MOST_HELD_SECONDS = 0.1
LOCK_SECONDS = 0.005  # after which CPython makes a thread give up the interpreter lock
FIRST_PENALTY_SECONDS = 60.0
LONGEST_PENALTY_SECONDS = 3600.0


class Collections(threading.local):
    """Times the interpreter's garbage collections in each thread, whatever computation they fall into.

    `seconds` is the time that they took by the clock, `processor_seconds` what the thread worked for them.
    """

    def __init__(self) -> None:
        self.seconds = self.processor_seconds = 0.0

    def __call__(self, phase: str, _info: dict[str, int]) -> None:
        """Be told of the beginning and the end of one by `gc.callbacks`."""
        sign = -1 if phase == "start" else 1
        self.seconds += sign * now()
        self.processor_seconds += sign * time.thread_time()


COLLECTIONS = Collections()
"""Stays at 0 until it is among `gc.callbacks`."""


class Stopwatch:
    """Times a computation in the thread that does it, in seconds; runs from the start."""

    __slots__ = ("_collected", "_processor", "_waits", "started_at")

    def __init__(self) -> None:
        self._collected = COLLECTIONS.seconds
        self._processor = time.thread_time() - COLLECTIONS.processor_seconds
        self._waits = getrusage(RUSAGE_THREAD).ru_nvcsw
        self.started_at = now()

    def judged(self, seconds: float, enough: float, *, only_computes: bool, on_loop: bool) -> float:
        """Return how slow a computation was that took that long by the clock.

        What is below `enough` is not slow, and the time of garbage collections in between is not the computation's.
        A thread that had to hand the processor to others is not slow, so its processor time counts, unless it gave it
        away to wait for something. That something was the interpreter lock where the runtime `only_computes`, and most
        likely off the loop, if it was not for long.
        """
        seconds -= COLLECTIONS.seconds - self._collected
        if seconds <= enough:
            return seconds
        waited = getrusage(RUSAGE_THREAD).ru_nvcsw > self._waits
        for_lock = only_computes or (not on_loop and seconds <= LOCK_SECONDS)
        if waited and not for_lock:
            return seconds
        return time.thread_time() - COLLECTIONS.processor_seconds - self._processor


class InlineSwitch:
    """Decides for one model, from how slow its computations were judged; times in seconds, `limit` 0 means never."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._quick = 0
        self._largest = 0
        self._may_hold = MOST_HELD_SECONDS
        self._held_at = 0.0
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
        elif not on_loop:
            self._quick = self._largest = 0
        else:
            self._held(seconds - self.limit, at)

    def _held(self, seconds: float, at: float) -> None:
        earned = HELD_SHARE * (at - self._held_at)
        self._may_hold = min(MOST_HELD_SECONDS, self._may_hold + earned) - seconds
        self._held_at = at
        if self._may_hold < 0:
            self._quick = self._largest = 0
            self._may_hold = MOST_HELD_SECONDS
            self._banned_until = at + self._penalty
            self._penalty = min(LONGEST_PENALTY_SECONDS, 2 * self._penalty)
