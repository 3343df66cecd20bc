"""The queues of one process: one for each model, and one for each version that is asked for by name.

Versions come and go. A queue whose model or version no worker has any more is closed after a while. Where a worker is
away its requests wait, for that may bring it back when it starts again; where all are there they are told soon.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Mapping

from gateway.model_facts import Key, ModelFacts
from gateway.model_queue import ModelQueue
from gateway.shared import Shared
from gateway.tally import Load
from inference_core.admission import Admission, Limits, NoAdmission
from inference_core.deadline import now
from inference_core.settings import Gateway

GONE_SECONDS = 30.0
"""How long a queue outlives its version while a worker is away, which may still bring it back."""

CLOCK_SECONDS = 0.001
"""uvloop's timers count whole milliseconds, and one that came early would have to come again."""

SURELY_GONE_SECONDS = 0.25
"""The same while every worker is there and none has it."""


class Queues:
    """Makes queues, wakes them and frees them."""

    def __init__(self, shared: Shared, settings: Gateway) -> None:
        self._shared = shared
        self._settings = settings
        self._gone_since: dict[Key, float] = {}
        self._surely_gone_since: dict[Key, float] = {}
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
        self._note_gone()
        if self._sweeper is None and self._gone_since:
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

    def _note_gone(self) -> None:
        # Where no worker is there at all, nothing is known, and requests wait for the first that comes.
        workers = self._shared.workers
        gone = [key for key in self.by_key if workers.any_ready() and not workers.is_ready(*key)]
        self._gone_since = _since(self._gone_since, gone)
        self._surely_gone_since = _since(self._surely_gone_since, gone if workers.all_ready() else ())

    def _sweep_later(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(SURELY_GONE_SECONDS + CLOCK_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        self._note_gone()
        time = now()
        for key, since in list(self._gone_since.items()):
            surely_since = self._surely_gone_since.get(key, math.inf)
            if time - since >= GONE_SECONDS or time - surely_since >= SURELY_GONE_SECONDS:
                self._end(key)
        if self._gone_since:
            self._sweep_later()

    def _end(self, key: Key) -> None:
        # While there are always some who wait, they would all wait in vain; and the queue would never be idle.
        self.by_key[key].answer_gone()
        if self.by_key[key].is_idle:
            self._free(key)

    def _free(self, key: Key) -> None:
        del self._gone_since[key]
        self._surely_gone_since.pop(key, None)
        task = asyncio.get_running_loop().create_task(self.by_key.pop(key).close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _since(before: Mapping[Key, float], gone: Iterable[Key]) -> dict[Key, float]:
    """Return since when each of what is gone has been."""
    time = now()
    return {key: before.get(key, time) for key in gone}
