"""One random history of a Batcher: who arrives, leaves and dies when is drawn from a seed, on a virtual clock.

Requests carry their identity in every row. The ledger here is kept beside the Batcher's own and compared with it each
time before the clock moves.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Hashable

import numpy as np

from inference_core.admission import Admission, Limits
from inference_core.batching import Batcher, Entry
from inference_core.deadline import Deadline
from inference_core.errors import DeadlineExceeded, InferenceHubError, ModelFailed, Overloaded
from inference_core.expiry import TICK_SECONDS
from inference_core.lanes import Lanes
from tests.inference_core.places import Boom, Place, Places, computed
from tests.virtual_time import CLOCK_STEP, VirtualTimeLoop

LATEST = 2.0
LONGEST = 60.0
ROWS_OF_IDENTITY = 1000
TOLERANCE = 0.002


class Client:
    """One request from its arrival to its outcome: "answer", "left" or the name of an error's class."""

    def __init__(self, choice: random.Random, number: int, max_rows: int) -> None:
        self.number = number
        self.arrives_at = choice.choice([0.0, 0.1, choice.uniform(0, 0.3), choice.uniform(0, LATEST)])
        self.rows = choice.choice([1, 1, 1, 2, 3, max_rows, max_rows + 3])
        self.key: Hashable = choice.choice(["one", "one", "two", number])
        self.background = choice.random() < 0.25
        self.seconds = choice.choice([0.0, 0.001, 0.02, choice.uniform(0, 1), 1.0, 5.0])
        self.leaves_after = choice.choice([None, None, None, 0.0, 0.001, choice.uniform(0, 0.5)])
        self.leaves_by = choice.choice(["cancelled", "withdrawn", "both"])
        self.outcome = ""
        self.ended_at = 0.0
        self.entry: Entry


class History:
    """`faults` says in words what went wrong; none in a history as it should be."""

    def __init__(self, loop: VirtualTimeLoop, seed: int) -> None:
        self.faults: list[str] = []
        self._loop = loop
        self._choice = choice = random.Random(seed)  # noqa: S311  # a history is to be repeatable, not secret
        self._max_rows = choice.choice([1, 2, 4, 8])
        self._max_delay = choice.choice([0.0, 0.0, 0.0, 0.01])
        self._closes_at = choice.choice([None, None, None, choice.uniform(0, LATEST)])
        self._closed = False
        limits = Limits(
            choice.choice([6, 20, 1000]),
            choice.choice([200, 1 << 20]),
            choice.choice([0.005, 0.1]),
            choice.random() < 0.5,
        )
        self._admission = Admission(limits)
        capacity = choice.choice([1, 2])
        self._places = Places(choice, [Place(capacity) for _ in range(choice.choice([1, 2, 3]))], self._blame)
        self._batcher = self._places.batcher = Batcher(
            self._places, self._admission, Lanes(self._max_rows, self._max_delay), lambda _: DeadlineExceeded("Late.")
        )
        self._clients = [Client(choice, number, self._max_rows) for number in range(choice.choice([1, 3, 10, 40]))]

    async def run(self) -> list[str]:
        """Let it happen, and return the faults."""
        began = self._loop.time()
        self._loop.before_jump(self._compare)
        tasks = [self._loop.create_task(self._visit(client)) for client in self._clients]
        self._plan_deaths(began)
        closing = self._loop.create_task(self._close()) if self._closes_at is not None else None
        await asyncio.gather(*tasks)
        await asyncio.sleep(LONGEST)
        if self._batcher.running:
            self._blame("a batch runs for ever")
            return self.faults
        if closing is not None:
            await closing
        await self._batcher.close()
        self._compare()
        self._judge()
        self._loop.before_jump(lambda: None)
        return self.faults

    def _blame(self, fault: str) -> None:
        self.faults.append(f"{self._loop.time():.4f}: {fault}")

    def _plan_deaths(self, began: float) -> None:
        for place in self._places.places:
            for _ in range(self._choice.choice([0, 1, 3])):
                dies_at = began + self._choice.uniform(0, LATEST)
                self._loop.call_at(dies_at, self._places.kill, place)
                self._loop.call_at(dies_at + self._choice.choice([0.0, 0.01, 0.3]), self._places.revive, place)

    async def _close(self) -> None:
        await asyncio.sleep(self._closes_at or 0.0)
        self._closed = True
        await self._batcher.close()
        if self._batcher.running or self._batcher.queued_rows:
            self._blame("something runs or waits after close")

    async def _visit(self, client: Client) -> None:
        await asyncio.sleep(client.arrives_at)
        identity = client.number * ROWS_OF_IDENTITY + np.arange(client.rows)
        client.entry = Entry(
            client.key, {"x": identity}, Deadline.after(client.seconds), client, background=client.background
        )
        task = self._loop.create_task(self._batcher.answer(client.entry))
        self._plan_leaving(client, task)
        try:
            answer = await task
        except asyncio.CancelledError:
            client.outcome = "left"
        except (Boom, InferenceHubError) as error:
            client.outcome = error.message if isinstance(error, ModelFailed) else type(error).__name__
        else:
            client.outcome = "answer"
            if not np.array_equal(answer["y"], computed({"x": identity})["y"]):
                self._blame(f"client {client.number} got the rows of somebody else")
        client.ended_at = self._loop.time()

    def _plan_leaving(self, client: Client, task: asyncio.Task[object]) -> None:
        if client.leaves_after is None:
            return
        if client.leaves_by != "withdrawn":
            self._loop.call_later(client.leaves_after, task.cancel)
        if client.leaves_by != "cancelled":
            self._loop.call_later(client.leaves_after, self._leave, client.entry)

    def _leave(self, entry: Entry) -> None:
        if entry.queued_at:
            self._batcher.withdraw(entry)

    def _compare(self) -> None:
        known = [client.entry for client in self._clients if hasattr(client, "entry")]
        waiting = [entry for entry in known if entry.queued_at and not entry.future.done()]
        queued = [entry for entry in waiting if entry.batch is None]
        if self._batcher.queued_rows != sum(entry.rows for entry in queued):
            self._blame(f"{self._batcher.queued_rows} rows are counted, {sum(entry.rows for entry in queued)} wait")
        if self._admission.bytes != sum(entry.size for entry in queued):
            self._blame("bytes are counted wrongly")
        if not self._closed and len(self._batcher._expiry) != len(waiting):
            self._blame("not exactly those are watched who wait")
        if self._batcher.running != sum(place.running for place in self._places.places):
            self._blame("a place leaked")
        if any(entry.deadline.at + TICK_SECONDS + TOLERANCE < self._loop.time() for entry in waiting):
            self._blame("somebody waits beyond the deadline")
        self._compare_work(queued)
        self._compare_running()

    def _compare_work(self, queued: list[Entry]) -> None:
        if self._places.is_free(alone=True) and any(entry.alone for entry in queued):
            self._blame("a place is empty while an entry waits for one of its own")
        ready = self._ready([entry for entry in queued if not entry.alone])
        if ready and self._places.is_free(alone=False):
            self._blame("a place is idle while something waits")

    def _ready(self, queued: list[Entry]) -> bool:
        if not self._max_delay:
            return bool(queued)
        lanes: dict[Hashable, list[Entry]] = defaultdict(list)
        for entry in queued:
            lanes[entry.key, entry.background].append(entry)
        held_since = self._loop.time() - self._max_delay - 2 * CLOCK_STEP
        return any(
            sum(entry.rows for entry in lane) >= self._max_rows or min(entry.queued_at for entry in lane) < held_since
            for lane in lanes.values()
        )

    def _compare_running(self) -> None:
        for batch, kind in self._places.running.items():
            mine = [entry for entry in batch.entries if entry.batch is batch]
            if len({entry.key for entry in mine}) > 1:
                self._blame("a batch mixes keys")
            if len(batch.entries) > 1 and batch.rows > self._max_rows:
                self._blame("a batch has too many rows")
            if kind not in {"does not listen", "hedges"} and mine and all(_has_left(entry) for entry in mine):
                self._blame(f"a batch runs on ({kind}) though everyone left")

    def _judge(self) -> None:
        allowed = {"answer", "left", *(error.__name__ for error in (Boom, Overloaded, DeadlineExceeded))}
        excused = {entry.context.number for entry in self._places.unanswered}
        for client in self._clients:
            by_consumer = client.outcome == "It kills." or client.number in excused
            if client.outcome not in allowed and not by_consumer:
                self._blame(f"client {client.number} ended with {client.outcome!r}")
            if client.outcome == "left" and client.leaves_after is None:
                self._blame(f"client {client.number} was sent away")
            early = client.outcome == "DeadlineExceeded" and client.ended_at < client.entry.deadline.at
            if early and not self._closed:
                self._blame(f"client {client.number} was told too early that it is late")
        if self._batcher.queued_rows or self._admission.bytes or self._batcher.running:
            self._blame("something is left over")
        if any(place.running for place in self._places.places):
            self._blame("a place is taken for ever")


def _has_left(entry: Entry) -> bool:
    future = entry.future
    return future.cancelled() or (future.done() and isinstance(future.exception(), DeadlineExceeded))
