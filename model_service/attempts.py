"""Where a worker computes and what it computes at once: the two ends that a model's queue brings together."""

from __future__ import annotations

from collections.abc import Sequence

from inference_core.batching import Entry
from inference_core.deadline import now
from model_service.threads import ComputeThread


class Place:
    """One of a model's instances; one that was left runs on unobserved.

    `begun_at` and `idle_since` are on the clock of Deadline.
    """

    __slots__ = ("begun_at", "idle_since", "is_computing", "is_left", "is_on_loop", "thread")

    def __init__(self, thread: ComputeThread) -> None:
        self.thread = thread
        self.begun_at = self.idle_since = 0.0
        self.is_computing = False
        self.is_left = False
        self.is_on_loop = False

    def busy_for(self) -> float:
        """Return for how many seconds its thread has been computing, 0 if it is not."""
        return now() - self.begun_at if self.is_computing else 0.0


class Attempt:
    """Calls whose rows are computed at once: `size` bytes; `slowness` is in seconds, as a Stopwatch judges it."""

    __slots__ = ("entries", "rows", "seconds", "size", "slowness", "started_at")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.rows = sum([entry.rows for entry in entries])
        self.size = sum([entry.size for entry in entries])
        self.started_at = self.seconds = self.slowness = 0.0
