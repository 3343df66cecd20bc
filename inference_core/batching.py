"""The Batcher: requests wait here for a consumer and leave together.

It stands at both hand-overs, the gateway's to its workers and a worker's to its compute threads. What it promises:

1. It never waits by the clock unless told to. While a consumer is idle, what is queued leaves at once; while all are
   busy, the queue is the next batch. `max_delay` of its Lanes is the only timer.
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
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Generic, TypeVar

from inference_core.admission import Admission
from inference_core.deadline import now
from inference_core.entries import Batch, Entry
from inference_core.errors import InferenceHubError, ModelFailed
from inference_core.expiry import Expiry
from inference_core.lanes import Lanes

__all__ = ["Batch", "Batcher", "Consumers", "Entry"]  # whoever uses a Batcher needs all four

UNANSWERED = "The model's worker gave no answer for this request; it is safe to try again."

Place = TypeVar("Place")


class Consumers(Generic[Place]):
    """Where batches go: places that are idle or busy."""

    def claim(self, *, alone: bool) -> Place | None:
        """Take an idle place, one that nothing else uses if `alone`; None while there is none.

        After a None for `alone` one place gets no new work until it is taken or `unreserve` is called; without that an
        entry that is to be alone would wait for ever under load.
        """
        raise NotImplementedError

    def has_places(self) -> bool:
        """Tell whether there is any place, idle or busy, that batches of the lanes may use."""
        return True

    def unreserve(self) -> None:
        """Note that nobody waits for a place alone any more; what `claim` kept free for that may be used again."""

    def release(self, place: Place) -> None:
        """Give a place back; whoever it makes idle calls `Batcher.wake`."""
        raise NotImplementedError

    async def run(self, place: Place, batch: Batch) -> None:
        """Have a batch computed and answer its entries through the Batcher.

        Cancelled when the last entry that waited for it leaves; never begun when that was before its first step.
        """
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
        self._closed = False
        self._delay: asyncio.TimerHandle | None = None
        self._delay_until = 0.0

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
        """Queue an entry; raises Overloaded, DeadlineExceeded for one that comes too late, or `late` after `close`."""
        if self._closed:
            raise self._late(entry)
        entry.deadline.check()
        time = now()
        self._admission.admit(entry, time)
        entry.queued_at = time
        if entry.alone:
            self._isolated[entry] = None
        else:
            self._lanes.append(entry)
        self._expiry.add(entry)
        self.wake()

    def wake(self) -> None:
        """Look for idle consumers soon: after everything else that is ready now, so that it can share the batch."""
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._pump)

    def wake_after(self, seconds: float) -> None:
        """Look for idle consumers after so many seconds, or sooner where that was asked for."""
        time = now()  # the handle cannot be asked: uvloop's has no time where the delay rounds to none
        if time < self._delay_until <= time + seconds:
            return
        if self._delay is not None:
            self._delay.cancel()
        self._delay_until = time + seconds
        self._delay = asyncio.get_running_loop().call_later(seconds, self._delay_over)

    def _delay_over(self) -> None:
        self._delay_until = 0.0  # it may come a little early, and must then be set again
        self.wake()

    def resolve(self, entry: Entry, answer: Any) -> None:
        """Answer an entry, unless it has left or was answered."""
        if not entry.future.done():
            self._expiry.discard(entry)
            self._count_out(entry)
            entry.future.set_result(answer)

    def fail(self, entry: Entry, error: BaseException) -> None:
        """Answer an entry with an error, unless it has left or was answered."""
        if not entry.future.done():
            self._expiry.discard(entry)
            self._count_out(entry)
            entry.future.set_exception(error)

    def put_back(self, entries: Iterable[Entry], *, alone: bool = False) -> None:
        """Queue entries of a running batch again, before all others; it goes on, and may still answer them."""
        for entry in reversed(list(entries)):
            if entry.future.done():
                continue
            self._count_out(entry)
            entry.batch = None
            entry.alone = entry.alone or alone
            entry.is_repeated = True
            self._admission.put_back(entry)
            if entry.alone:
                self._isolated[entry] = None
                self._isolated.move_to_end(entry, last=False)
            else:
                self._lanes.prepend(entry)
            if self._closed:
                self._expiry.discard(entry)
                self._expire(entry)
        self.wake()

    def rejoin(self, is_cleared: Callable[[Entry], bool]) -> None:
        """Let waiting entries that were to travel alone share batches again, those of which `is_cleared` says so."""
        for entry in [entry for entry in self._isolated if is_cleared(entry)]:
            del self._isolated[entry]
            entry.alone = False
            self._lanes.prepend(entry)
        self.wake()

    def answer_waiting(self, error_of: Callable[[Entry], InferenceHubError]) -> None:
        """Answer what waits with an error."""
        for entry in [*self._lanes, *self._isolated]:
            self.fail(entry, error_of(entry))

    def withdraw(self, entry: Entry) -> None:
        """Take out an entry whose client left, unless it has been answered."""
        entry.future.cancel()
        # Whoever is watched is counted, so nobody is counted out twice: not by a second call, nor by an expiry between.
        if entry.future.cancelled() and self._expiry.discard(entry):
            self._leave(entry)

    async def close(self) -> None:
        """Answer what waits with `late`'s error, refuse whatever comes, and wait for what runs."""
        self._closed = True
        self.answer_waiting(self._late)
        try:
            await asyncio.gather(*[batch.task for batch in self._running], return_exceptions=True)
            await asyncio.sleep(0)  # the tasks' own callbacks: places are given back in them
        finally:
            self._expiry.close()
            if self._delay is not None:
                self._delay.cancel()

    def _expire(self, entry: Entry) -> None:
        if not entry.future.done():
            entry.future.set_exception(self._late(entry))
        self._leave(entry)

    def _leave(self, entry: Entry) -> None:
        self._count_out(entry)
        if entry.batch is not None and not entry.batch.live:
            entry.batch.task.cancel()

    def _count_out(self, entry: Entry) -> None:
        if entry.batch is not None:
            entry.batch.live -= 1
        elif self._lanes.remove(entry):
            self._admission.left((entry,))
        elif entry in self._isolated:
            del self._isolated[entry]
            self._admission.left((entry,))
            if not self._isolated:
                self._consumers.unreserve()
                self.wake()

    def _pump(self) -> None:
        self._woken = False
        time = now()
        self._pump_isolated(time)
        if not self._lanes:
            return
        for entry in self._admission.shed(self._lanes, time):
            self.fail(entry, self._admission.refusal(entry, "standing"))
        while self._lanes:
            pause = self._lanes.pause(time)
            if pause > 0:
                self.wake_after(pause)
                return
            place = self._consumers.claim(alone=False)
            if place is None:
                if not self._running or not self._consumers.has_places():
                    self._admission.stalled(time)
                return
            entries, reason = self._lanes.take(time, newest_first=self._admission.newest_first)
            self._start(place, entries, reason, time)

    def _pump_isolated(self, time: float) -> None:
        while self._isolated:
            place = self._consumers.claim(alone=True)
            if place is None:
                return
            entry, _ = self._isolated.popitem(last=False)
            self._start(place, [entry], "alone", time)

    def _start(self, place: Place, taken: list[Entry], reason: str, time: float) -> None:
        self._admission.left(taken)
        # The timer may be late by a tick, and a cancelled task tells its entry only when it runs next.
        entries = [entry for entry in taken if entry.deadline.at > time and not entry.future.done()]
        if len(entries) < len(taken):
            self._expire_late(taken, time)
        if not entries:
            self._consumers.release(place)
            return
        if reason != "alone":
            self._admission.formed(time)
        batch = Batch(entries, sum([entry.rows for entry in entries]), reason, time)
        # Parts of a batch that was taken apart are small on purpose and say nothing about how fast the queue drains.
        batch.leaves_others = bool(self._lanes) and not any(entry.is_repeated for entry in entries)
        for entry in entries:
            entry.batch = batch
        self._running.add(batch)
        # A callback and not a `finally`: a task that is cancelled before its first step runs none of its code.
        batch.task = asyncio.get_running_loop().create_task(self._consumers.run(place, batch))
        batch.task.add_done_callback(partial(self._finish, place, batch))

    def _expire_late(self, taken: list[Entry], time: float) -> None:
        for entry in taken:
            if entry.deadline.at <= time and self._expiry.discard(entry):
                self._expire(entry)

    def _finish(self, place: Place, batch: Batch, task: asyncio.Task[None]) -> None:
        self._running.discard(batch)
        error = None if task.cancelled() else task.exception()
        rows = 0 if task.cancelled() else sum([entry.rows for entry in batch.entries if entry.batch is batch])
        for entry in batch.waiting() if batch.live else ():
            self.fail(entry, error if isinstance(error, Exception) else ModelFailed(UNANSWERED))
        batch.entries = []  # else entry and batch hold each other, and the inputs stay for the garbage collector
        time = now()
        self._admission.drained(rows, time - batch.formed_at, time, leaves_others=batch.leaves_others)
        self._consumers.release(place)
        self.wake()
