"""What a worker computes at once."""

from __future__ import annotations

from collections.abc import Sequence

from inference_core.batching import Entry
from inference_core.deadline import now
from inference_core.stacking import split, stack
from inference_core.tensors import Arrays
from model_service.runtime import Runtime


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
