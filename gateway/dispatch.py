"""One request across the hop: into its model's Batcher, with its batch to a worker, and back as an answer or error.

Wherever a version may be named, an empty one means the worker's default.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

import msgspec

from gateway.attempts import Attempts
from gateway.call import Call
from gateway.model_facts import Key
from gateway.model_queue import HALVED_ONCE, ModelQueue
from gateway.quarantine import Quarantine
from gateway.queues import Queues
from gateway.replay import HEDGE_BURST, LOSS_BURST, RetryBudget
from gateway.shared import Shared
from gateway.slots import Slot, State
from gateway.suspicions import Suspicions
from gateway.tally import Tally
from gateway.workers import Workers
from inference_core import errors
from inference_core.admission import Verdict
from inference_core.batching import Batcher, Entry
from inference_core.deadline import Deadline, now
from inference_core.inference import Inference
from inference_core.settings import Gateway
from inference_core.stacking import signature_of
from inference_core.tensors import Arrays

RETURN_SECONDS = 0.02
"""Kept back from the hop, so that also the answer to a missed deadline leaves before that deadline."""


class Answering(Protocol):
    """A request that was asked: `future` becomes its Inference or error."""

    @property
    def future(self) -> asyncio.Future[Inference]:
        """Where the answer will be."""

    def leave(self) -> None:
        """Take the request out, because nobody waits for its answer any more."""


async def answer_of(asked: Answering) -> Inference:
    """Wait for an answer; being cancelled takes the request out."""
    try:
        return await asked.future
    except asyncio.CancelledError:
        asked.leave()
        raise


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A request that was queued: `future` becomes its Inference or error."""

    entry: Entry
    batcher: Batcher[Slot]

    @property
    def future(self) -> asyncio.Future[Inference]:
        """Where the answer will be."""
        return self.entry.future

    def leave(self) -> None:
        """Take the request out, because nobody waits for its answer any more."""
        self.batcher.withdraw(self.entry)


class Dispatcher:
    """Sends requests to whichever worker is idle, together with those that wait beside them."""

    def __init__(self, workers: Workers, settings: Gateway, tally: Tally) -> None:
        self.workers = workers
        self.tally = tally
        quarantine = Quarantine(settings.refuse_seconds)
        self._shared = Shared(
            workers,
            Attempts(),
            quarantine,
            Suspicions(quarantine.vouch),
            RetryBudget(settings.retry_ratio, LOSS_BURST),
            RetryBudget(settings.hedge_ratio, HEDGE_BURST),
            tally,
        )
        self._queues = Queues(self._shared, settings)
        self.is_refusing = False
        """Whether the last request was not let in, so that others will not be, too."""
        tally.load = self._queues.load
        workers.listen(self._changed)

    async def infer(self, model: str, inputs: Arrays, call: Call, version: str = "") -> Inference:
        """Return a model's outputs for named input arrays, which have the same number of rows.

        Raises the expected errors: UnknownModel, InvalidInput, Overloaded, NoWorker, DeadlineExceeded, ModelFailed.
        """
        await self.prepare(model, version, call.deadline)
        return await answer_of(self.ask(model, inputs, call, version))

    async def prepare(self, model: str, version: str, deadline: Deadline) -> None:
        """Make sure that `ask` may be used for a model; waits for the first worker. Raises UnknownModel or NoWorker."""
        if (model, version) in self._queues.by_key:
            return
        await self.workers.wait_ready(_hop_deadline(deadline))
        facts = self.workers.facts(model, version)
        if facts is None:
            self.workers.look_again()
            raise self.workers.unknown(model)
        self._queues.make((model, version), facts)

    def is_busy(self, model: str) -> bool:
        """Tell whether any request for a model waits or is under way, in this process."""
        return any(name == model and not queue.is_idle for (name, _), queue in self._queues.by_key.items())

    def knows(self, model: str, version: str = "") -> bool:
        """Tell whether `ask` may be used for a model: a worker has reported it."""
        return (model, version) in self._queues.by_key

    def check(self, model: str, call: Call, version: str = "") -> None:
        """Raise Overloaded where a request for a model would be late, before its inputs are made: refusing is cheap."""
        queue = self._queues.by_key.get((model, version))
        if queue is None:
            return
        call.model, time = model, now()
        queue.admission.check(call.deadline.at - time, time, background=call.background)

    def verdict(self, model: str, deadline: Deadline, *, background: bool) -> Verdict | None:
        """Return why `check` would raise for a model's default version, or None."""
        queue, time = self._queues.by_key.get((model, "")), now()
        return None if queue is None else queue.admission.verdict(deadline.at - time, time, background=background)

    def ask(self, model: str, inputs: Arrays, call: Call, version: str = "") -> Asked:
        """Queue a request for a known model and return where its answer will be; raises as `infer` does."""
        queue = self._queues.by_key[model, version]
        try:
            self._shared.quarantine.check(model, inputs, version)
        except errors.WorkerKiller:
            self.tally.input_refused(model)
            raise
        entry = Entry(signature_of(inputs), inputs, _hop_deadline(call.deadline), call, background=call.background)
        call.model, call.rows = model, entry.rows
        if len(self._shared.suspicions):
            # What is remembered sends an input to its trial, but convicts none: it may only have been popular.
            entry.losses = min(self._shared.suspicions.deaths(model, entry, version), HALVED_ONCE + 1)
            entry.alone = entry.losses > HALVED_ONCE
        self.is_refusing = True
        queue.batcher.submit(entry)
        self.is_refusing = False
        self._shared.retries.earn()
        self._shared.hedges.earn()
        call.queued_at = entry.queued_at
        return Asked(entry, queue.batcher)

    async def close(self) -> None:
        """Let running batches end and answer what waits."""
        await self._queues.close()

    @property
    def queues(self) -> Mapping[Key, ModelQueue]:
        """The queues so far, by model and version."""
        return self._queues.by_key

    def _changed(self) -> None:
        for slot in self.workers.slots:
            self.tally.slot_is(slot.number, {state.value: state is slot.state for state in State})
            if slot.state is State.ABSENT:
                self._shared.quarantine.learn(slot.death_note)
        self._queues.wake()


def _hop_deadline(deadline: Deadline) -> Deadline:
    return Deadline(deadline.at - min(RETURN_SECONDS, (deadline.at - now()) / 2))
