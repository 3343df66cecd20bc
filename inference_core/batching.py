"""The Batcher: requests wait here for a consumer and leave together.

It stands at both hand-overs, the gateway's to its workers and a worker's to its compute threads. What it promises:

1. It never waits by the clock unless told to. While a consumer is idle, what is queued leaves at once; while all are
   busy, the queue is the next batch. `Limits.max_delay` is the only timer.
2. `submit` never blocks. A full queue, or a wait beyond the deadline, is refused at once with the expected wait.
3. One request's fate is its own. Who leaves or is late is out before the batch is formed.
4. Only entries of one key share a batch. Rows are counted; an entry larger than a batch travels alone.
5. Whatever a consumer does, every entry of its batch is answered, exactly once, or put back into the queue.
6. An entry that is put back as `alone` shares neither its batch nor its consumer with anything else.

All methods belong to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

from inference_core.admission import Admission
from inference_core.deadline import Deadline, now
from inference_core.errors import InferenceHubError, ModelFailed
from inference_core.expiry import Expiry
from inference_core.lanes import Lanes
from inference_core.tensors import Arrays, size_of

UNANSWERED = "The model's worker gave no answer for this request; it is safe to try again."

Place = TypeVar("Place")


class Entry:
    """One request in a Batcher: `inputs` of `rows` rows and `size` bytes; the answer comes through `future`.

    `key` says with whom it may share a batch, `background` that it gives way to others. `context` is the owner's.
    Times are on the clock of Deadline.
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
        arrays = tuple(inputs.values())
        self.key = key
        self.inputs = inputs
        self.rows: int = arrays[0].shape[0] if arrays else 1
        self.size = sum([size_of(array) for array in arrays])
        self.deadline = deadline
        self.context = context
        self.background = background
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.queued_at = 0.0
        self.batch: Batch | None = None
        self.attempts = 0
        self.losses = 0
        self.alone = False


class Batch:
    """Entries that travel together; `reason` says why they left: "idle", "full", "delay" or "alone"."""

    __slots__ = ("entries", "formed_at", "live", "reason", "rows", "task")

    def __init__(self, entries: list[Entry], rows: int, reason: str, formed_at: float) -> None:
        self.entries = entries
        self.rows = rows
        self.reason = reason
        self.formed_at = formed_at
        self.live = len(entries)
        self.task: asyncio.Task[None] | None = None

    def waiting(self) -> list[Entry]:
        """Return the entries that still want an answer."""
        return [entry for entry in self.entries if entry.batch is self and not entry.future.done()]


class Consumers(Generic[Place]):
    """Where batches go: places that are idle or busy."""

    def claim(self, *, alone: bool) -> Place | None:
        """Take an idle place, one that nothing else uses if `alone`; None while there is none."""
        raise NotImplementedError

    def release(self, place: Place) -> None:
        """Give a place back; whoever it makes idle calls `Batcher.wake`."""
        raise NotImplementedError

    def run(self, place: Place, batch: Batch) -> Awaitable[None]:
        """Have a batch computed and answer its entries through the Batcher; cancelled when all of them have left."""
        raise NotImplementedError


class Batcher(Generic[Place]):
    """See the module's docstring. `late` makes the error for an entry whose deadline passes before its answer."""

    def __init__(
        self,
        consumers: Consumers[Place],
        admission: Admission,
        lanes: Lanes[Entry],
        late: Callable[[Entry], InferenceHubError],
    ) -> None:
        self._consumers = consumers
        self._admission = admission
        self._lanes = lanes
        self._late = late
        self._isolated: OrderedDict[Entry, None] = OrderedDict()
        self._expiry: Expiry[Entry] = Expiry(self._expire)
        self._running: set[Batch] = set()
        self._woken = False
        self._delay: asyncio.TimerHandle | None = None

    @property
    def queued_rows(self) -> int:
        """How many rows wait."""
        return self._admission.rows

    @property
    def running(self) -> int:
        """How many batches are with a consumer."""
        return len(self._running)

    async def answer(self, entry: Entry) -> Any:
        """Submit an entry and return its answer; being cancelled takes the entry out of queue and batch at once."""
        self.submit(entry)
        try:
            return await entry.future
        except asyncio.CancelledError:
            self.withdraw(entry)
            raise

    def submit(self, entry: Entry) -> None:
        """Queue an entry; raises Overloaded, or DeadlineExceeded for one that comes too late."""
        entry.deadline.check()
        self._admission.admit(entry)
        entry.queued_at = now()
        self._lanes.append(entry)
        self._expiry.add(entry)
        self.wake()

    def wake(self) -> None:
        """Look for idle consumers soon: after everything else that is ready now, so that it can share the batch."""
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._pump)

    def resolve(self, entry: Entry, answer: Any) -> None:
        """Answer an entry, unless it has left or was answered."""
        if not entry.future.done():
            self._expiry.discard(entry)
            entry.future.set_result(answer)

    def fail(self, entry: Entry, error: BaseException) -> None:
        """Answer an entry with an error, unless it has left or was answered."""
        if not entry.future.done():
            self._expiry.discard(entry)
            entry.future.set_exception(error)

    def put_back(self, entries: Iterable[Entry], *, alone: bool = False) -> None:
        """Queue entries of a running batch again, before all others; their deadlines stay."""
        for entry in reversed(list(entries)):
            if entry.future.done():
                continue
            entry.batch = None
            entry.alone = entry.alone or alone
            self._admission.put_back(entry)
            if entry.alone:
                self._isolated[entry] = None
            else:
                self._lanes.prepend(entry)
        self.wake()

    def withdraw(self, entry: Entry) -> None:
        """Take out an entry whose client left, unless it has been answered."""
        if not entry.future.done():
            entry.future.cancel()
        if entry.future.cancelled():
            self._expiry.discard(entry)
            self._drop(entry)

    async def close(self) -> None:
        """Answer what waits with `late`'s error, and wait for what runs."""
        for entry in [*self._lanes, *self._isolated]:
            self._expire(entry)
        tasks = [batch.task for batch in self._running if batch.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        self._expiry.close()
        if self._delay is not None:
            self._delay.cancel()

    def _expire(self, entry: Entry) -> None:
        if entry.future.done():
            return
        entry.future.set_exception(self._late(entry))
        self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        batch = entry.batch
        if batch is None:
            self._remove_queued(entry)
            return
        batch.live -= 1
        if batch.live <= 0 and batch.task is not None:
            batch.task.cancel()

    def _remove_queued(self, entry: Entry) -> None:
        if entry in self._isolated:
            del self._isolated[entry]
            self._admission.left(entry)
        elif self._lanes.remove(entry):
            self._admission.left(entry)

    def _pump(self) -> None:
        self._woken = False
        self._pump_isolated()
        while self._lanes:
            time = now()
            for entry in self._admission.shed(self._lanes, time):
                self._remove_queued(entry)
                self.fail(entry, self._admission.refusal(entry, "standing"))
            pause = self._lanes.pause(time)
            if pause > 0:
                self._wake_after(pause)
                return
            place = self._consumers.claim(alone=False) if self._lanes else None
            if place is None:
                if not self._running:
                    self._admission.stalled()
                return
            entries, reason = self._lanes.take(newest_first=self._admission.newest_first)
            self._start(place, entries, reason)

    def _pump_isolated(self) -> None:
        while self._isolated:
            place = self._consumers.claim(alone=True)
            if place is None:
                return
            entry, _ = self._isolated.popitem(last=False)
            self._start(place, [entry], "alone")

    def _wake_after(self, pause: float) -> None:
        if self._delay is not None:
            self._delay.cancel()
        self._delay = asyncio.get_running_loop().call_later(pause, self.wake)

    def _start(self, place: Place, entries: list[Entry], reason: str) -> None:
        time = now()
        batch = Batch(entries, sum([entry.rows for entry in entries]), reason, time)
        for entry in entries:
            entry.batch = batch
            self._admission.left(entry)
        self._running.add(batch)
        batch.task = asyncio.get_running_loop().create_task(self._run(place, batch))

    async def _run(self, place: Place, batch: Batch) -> None:
        error: BaseException = ModelFailed(UNANSWERED)
        try:
            await self._consumers.run(place, batch)
        except asyncio.CancelledError:
            pass  # nobody waits, or the process ends: what is unanswered is told below
        except Exception as raised:  # noqa: BLE001  # contract 5: whatever it is, it becomes the answer
            error = raised
        finally:
            self._finish(place, batch, error)

    def _finish(self, place: Place, batch: Batch, error: BaseException) -> None:
        self._running.discard(batch)
        answered = sum([entry.rows for entry in batch.entries if entry.batch is batch]) if batch.live > 0 else 0
        for entry in batch.waiting():
            self.fail(entry, error)
        time = now()
        self._admission.drained(answered, time - batch.formed_at, time)
        self._consumers.release(place)
        self.wake()
