"""The queues of one process: one for each model, and one for each version that is asked for by name.

Versions come and go. A queue whose model or version no worker has any more is closed after a while. Where a worker is
away its requests wait, for that may bring it back when it starts again; where all are there they are told soon.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping

from gateway.model_facts import Key, ModelFacts
from gateway.model_queue import ModelQueue
from gateway.shared import Shared
from gateway.tally import Load
from inference_core.admission import Admission, Limits, NoAdmission
from inference_core.deadline import now
from inference_core.settings import Gateway

GONE_SECONDS = 30.0
"""How long a queue outlives its version while a worker is away, which may still bring it back."""

SURELY_GONE_SECONDS = 1.0
"""The same while every worker is there and none has it."""


class Queues:
    """Makes queues, wakes them and frees them."""

    def __init__(self, shared: Shared, settings: Gateway) -> None:
        self._shared = shared
        self._settings = settings
        self._gone_since: dict[Key, float] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.by_key: dict[Key, ModelQueue] = {}

    def make(self, key: Key, facts: ModelFacts) -> ModelQueue:
        """Return the queue of a model or version that a worker has, a new one where there is none."""
        queue = self.by_key.get(key)
        if queue is None:
            settings = self._settings
            limits = Limits(settings.max_queue_rows, settings.max_queue_bytes, settings.queue_target)
            admission = Admission(limits) if settings.admission else NoAdmission(limits)
            queue = self.by_key[key] = ModelQueue(key, facts, self._shared, admission)
        return queue

    def wake(self) -> None:
        """Look for idle workers in every queue, and for queues that nobody needs any more."""
        for queue in self.by_key.values():
            queue.wake()
        if self._sweeper is None and any(True for _ in self._gone()):
            self._sweep_later()

    def load(self) -> Load:
        """Return the rows that wait and the batches under way of each model, all versions together."""
        rows: Counter[str] = Counter()
        batches: Counter[str] = Counter()
        for (model, _), queue in self.by_key.items():
            rows[model] += queue.batcher.queued_rows
            batches[model] += queue.batcher.running
        return [(model, rows[model], batches[model]) for model in rows]

    async def close(self) -> None:
        """Let running batches end and answer what waits."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for queue in [*self.by_key.values()]:
            await queue.close()
        await asyncio.gather(*self._closing)

    def _gone(self) -> Iterator[Key]:
        # Where no worker is there at all, nothing is known, and requests wait for the first that comes.
        workers = self._shared.workers
        return (key for key in self.by_key if workers.any_ready() and not workers.is_ready(*key))

    def _sweep_later(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(SURELY_GONE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        surely = self._shared.workers.all_ready()
        patience = SURELY_GONE_SECONDS if surely else GONE_SECONDS
        self._gone_since = _since(self._gone_since, self._gone())
        for key, since in list(self._gone_since.items()):
            # Who waits for what is surely gone is told so: while there are always some, they would all wait in vain.
            if now() - since >= patience and (surely or self.by_key[key].is_idle):
                self._free(key)
        if self._gone_since:
            self._sweep_later()

    def _free(self, key: Key) -> None:
        del self._gone_since[key]
        task = asyncio.get_running_loop().create_task(self.by_key.pop(key).close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _since(before: Mapping[Key, float], gone: Iterator[Key]) -> dict[Key, float]:
    """Return since when each of what is gone has been."""
    time = now()
    return {key: before.get(key, time) for key in gone}
