"""What waits in a Batcher and what leaves it: one request, and requests that travel together."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any

from inference_core.deadline import Deadline
from inference_core.stacking import bytes_of, rows_of
from inference_core.tensors import Arrays


class Entry:
    """One request in a Batcher: `inputs` of `rows` rows and `size` bytes; the answer comes through `future`.

    `key` says with whom it may share a batch, `background` that it gives way to others. `context` is the owner's.
    Times are on the clock of Deadline. `batch` is None while it waits in the queue, `queued_at` since when it does;
    `is_repeated` says that it was put back. Raises InvalidInput where the
    inputs have no common number of rows: stacked upon others they would shift everybody's rows.
    """

    __slots__ = (
        "alone",
        "attempts",
        "background",
        "batch",
        "context",
        "deadline",
        "future",
        "inputs",
        "is_repeated",
        "key",
        "losses",
        "queued_at",
        "rows",
        "size",
    )

    def __init__(
        self,
        key: Hashable,
        inputs: Arrays,
        deadline: Deadline,
        context: Any = None,
        *,
        background: bool = False,
    ) -> None:
        self.key = key
        self.inputs = inputs
        self.rows = rows_of(inputs)
        self.size = bytes_of(inputs)
        self.deadline = deadline
        self.context = context
        self.background = background
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.queued_at = 0.0
        self.batch: Batch | None = None
        self.attempts = 0
        self.losses = 0
        self.alone = False
        self.is_repeated = False


class Batch:
    """Entries that travel together; `reason` says why they left: "idle", "full", "delay" or "alone".

    `live` counts those that wait for this batch. `leaves_others` says that more waited than could travel with them.
    `entries` is empty once it has ended.
    """

    __slots__ = ("entries", "formed_at", "leaves_others", "live", "reason", "rows", "task")

    def __init__(self, entries: list[Entry], rows: int, reason: str, formed_at: float) -> None:
        self.entries = entries
        self.rows = rows
        self.reason = reason
        self.formed_at = formed_at
        self.leaves_others = False
        self.live = len(entries)
        self.task: asyncio.Task[None]

    def waiting(self) -> list[Entry]:
        """Return the entries that still want an answer."""
        return [entry for entry in self.entries if entry.batch is self and not entry.future.done()]
