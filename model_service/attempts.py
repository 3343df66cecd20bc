"""Where a worker computes and what it computes at once: the two ends that a model's queue brings together."""

from __future__ import annotations

from collections.abc import Sequence

from inference_core.batching import Entry
from inference_core.deadline import now
from inference_core.stacking import split, stack
from inference_core.tensors import Arrays
from model_service.runtime import Runtime
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
    """Calls whose rows are computed at once: `size` bytes; `slowness` is in seconds, as a Stopwatch judges it.

    `seconds` is the whole of it; of that `input_seconds` went into putting the rows together and `output_seconds` into
    taking them apart. `error` names the type of what was raised.
    """

    __slots__ = (
        "entries",
        "error",
        "input_seconds",
        "output_seconds",
        "rows",
        "seconds",
        "size",
        "slowness",
        "started_at",
    )

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.rows = sum([entry.rows for entry in entries])
        self.size = sum([entry.size for entry in entries])
        self.started_at = self.seconds = self.slowness = self.input_seconds = self.output_seconds = 0.0
        self.error = ""

    def run(self, runtime: Runtime, begun_at: float) -> list[Arrays]:
        """Return each call's outputs; raises whatever the model does. `begun_at` is on the clock of Deadline."""
        entries = self.entries
        try:
            stacked = stack([entry.inputs for entry in entries])
            self.input_seconds = now() - begun_at
            outputs = runtime.predict(stacked)
            computed_at = now()
            shares = split(outputs, [entry.rows for entry in entries])
        except BaseException as raised:
            self.error = type(raised).__name__
            raise
        self.output_seconds = now() - computed_at
        return shares
