"""A consumer that does nothing by itself: a test looks at each batch and says how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from inference_core.admission import Admission, Limits
from inference_core.batching import Batch, Batcher, Consumers, Entry
from inference_core.deadline import Deadline
from inference_core.errors import DeadlineExceeded
from inference_core.lanes import Lanes
from inference_core.stacking import split, stack

LONG = 60.0
INSTANT = 1e-6


class Desk(Consumers[int]):
    """Has `places`; `batches` are those it was given, in order, `cancelled` those that were called back."""

    def __init__(
        self, places: int = 1, max_rows: int = 4, max_delay: float = 0.0, limits: Limits | None = None
    ) -> None:
        self.idle = list(range(places))
        self.places = places
        self.alone: set[int] = set()
        self.unreserved = 0
        self.batches: list[Batch] = []
        self.cancelled: list[Batch] = []
        self.admission = Admission(limits or Limits(1000, 1 << 20, LONG))
        lanes: Lanes[Entry] = Lanes(max_rows, max_delay)
        self.batcher: Batcher[int] = Batcher(self, self.admission, lanes, lambda _: DeadlineExceeded("Late."))
        self._ends: dict[Batch, asyncio.Future[None]] = {}

    def claim(self, *, alone: bool) -> int | None:
        """Take the first idle place."""
        if not self.idle:
            return None
        place = self.idle.pop(0)
        if alone:
            self.alone.add(place)
        return place

    def unreserve(self) -> None:
        """Count the calls."""
        self.unreserved += 1

    def release(self, place: int) -> None:
        """Give a place back."""
        assert place not in self.idle
        self.alone.discard(place)
        self.idle.append(place)

    async def run(self, place: int, batch: Batch) -> None:
        """Wait for the test's word."""
        self.batches.append(batch)
        self._ends[batch] = end = asyncio.get_running_loop().create_future()
        try:
            await end
        except asyncio.CancelledError:
            self.cancelled.append(batch)
            raise

    def entry(self, key: object = "key", rows: int = 1, seconds: float = LONG, *, background: bool = False) -> Entry:
        """Return an entry whose rows are all different from every other's."""
        values = np.full((rows, 1), id(object()), np.int64) + np.arange(rows)[:, None]
        return Entry(key, {"x": values}, Deadline.after(seconds), background=background)

    def send(self, *entries: Entry) -> list[asyncio.Task[Any]]:
        """Have a client wait for each entry's answer, and take it, good or bad."""
        tasks = [asyncio.get_running_loop().create_task(self.batcher.answer(entry)) for entry in entries]
        for task in tasks:
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return tasks

    def answer(self, batch: Batch) -> None:
        """Answer every entry with its own rows and end the batch."""
        shares = split(stack([entry.inputs for entry in batch.entries]), [entry.rows for entry in batch.entries])
        for entry, share in zip(batch.entries, shares, strict=True):
            self.batcher.resolve(entry, share)
        self.end(batch)

    def end(self, batch: Batch, error: BaseException | None = None) -> None:
        """End the batch as it is, or with an error."""
        if error is None:
            self._ends[batch].set_result(None)
        else:
            self._ends[batch].set_exception(error)

    def is_clean(self) -> bool:
        """Tell whether nothing waits, runs or is counted, and every place is idle."""
        left = (self.batcher.queued_rows, self.admission.bytes, self.batcher.running, len(self.batcher._expiry))
        return left == (0, 0, 0, 0) and len(self.idle) == self.places


async def settled() -> None:
    """Let everything run that is ready, and what follows from it."""
    await asyncio.sleep(INSTANT)
