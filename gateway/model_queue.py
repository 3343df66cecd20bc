"""One model's Batcher at the gateway, and what becomes of its batches: answered, split, repeated, hedged or failed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import structlog
from grpc import StatusCode

from gateway.attempts import Attempt
from gateway.call import Call
from gateway.concurrency import Concurrency
from gateway.hedges import Hedger
from gateway.hedging import Stalls
from gateway.model_facts import Key, ModelFacts
from gateway.quarantine import KILLED, fingerprint_of
from gateway.replay import halved
from gateway.shared import Shared
from gateway.slots import Slot
from gateway.worker_errors import LATE, LOST, is_of_all, is_too_large, outcome_of, translated
from inference_core import errors
from inference_core.admission import Admission
from inference_core.batching import Batch, Batcher, Consumers, Entry
from inference_core.lanes import Lanes

HALVED_ONCE, TRIED_ALONE_TWICE = 1, 4
MOST_ATTEMPTS = 3
"""How often a request is sent that workers turn away by themselves."""

SHOWN_IDS = 16
AFTERWARDS_SECONDS = 1.0
ANSWERS_AT_ONCE = 16

LOSSES = (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)
PERHAPS_ONE_OF_MANY = (StatusCode.INVALID_ARGUMENT, StatusCode.INTERNAL, StatusCode.UNKNOWN)

log = structlog.get_logger()


class ModelQueue(Consumers[Slot]):
    """The Batcher of one model, or of one of its versions; its consumers are the workers that can run it."""

    def __init__(self, key: Key, facts: ModelFacts, shared: Shared, admission: Admission) -> None:
        self._key = key
        self.model, self.version = key
        self._workers, self._attempts, self._quarantine = shared.workers, shared.attempts, shared.quarantine
        self._retries, self._tally = shared.retries, shared.tally
        self._suspicions = shared.suspicions
        self.admission = admission
        hedger = Hedger(shared, self._answer, self._wake_batcher)
        self._stalls = Stalls(hedger.hedge)
        self._concurrency = Concurrency()
        self._lanes: Lanes[Entry] = Lanes(facts.max_rows)
        self.batcher: Batcher[Slot] = Batcher(self, admission, self._lanes, self._late)

    def _wake_batcher(self) -> None:
        self.batcher.wake()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and no batch is under way."""
        return not (self.batcher.queued_rows or self.batcher.running)

    def wake(self) -> None:
        """Look for idle workers, which may be other ones now."""
        facts = self._workers.facts(*self._key)
        if facts is not None:
            self._lanes.max_rows = facts.max_rows
        self.batcher.wake()

    def answer_gone(self) -> None:
        """Tell who waits that no worker has the model or version any more."""
        self.batcher.answer_waiting(lambda _: self._workers.unknown(self.model))

    async def close(self) -> None:
        """Let running batches end and answer what waits."""
        await self.batcher.close()
        self._stalls.close()

    def claim(self, *, alone: bool) -> Slot | None:
        """As `Consumers.claim`; an idle place that no batch would gain anything from counts as busy."""
        pause = 0.0 if alone else self._concurrency.pause(self.batcher.running, self._stalls)
        if pause:
            self.batcher.wake_after(pause)
            return None
        return self._workers.claim(*self._key, alone=alone)

    def release(self, place: Slot) -> None:
        """As `Consumers.release`."""
        self._workers.release(self.model, place, self.version)

    def has_places(self) -> bool:
        """As `Consumers.has_places`; a worker that is kept free for a suspected input is none."""
        return self._workers.has_places(*self._key)

    def unreserve(self) -> None:
        """As `Consumers.unreserve`."""
        self._workers.unreserve()

    async def run(self, place: Slot, batch: Batch) -> None:
        """As `Consumers.run`: one attempt, and what follows from its end."""
        self._refuse_killers(batch)
        if not batch.waiting():
            return
        if not place.is_connected():
            # Nothing was sent, so nothing of this batch is to blame for what became of that worker.
            place.suspect()
            self.batcher.put_back(batch.waiting())
            return
        connections, attempt = place.connections, self._begin(place, batch)
        try:
            response = await attempt.call
        except grpc.aio.AioRpcError as error:
            self._end(attempt, error.code())
            if not await self._saved_by_hedge(attempt):
                await self._failed(attempt, error, connections)
        except asyncio.CancelledError:
            self._end(attempt, StatusCode.CANCELLED)
            if not attempt.is_beaten:
                self._look_later(attempt, connections)
                raise
        else:
            self._end(attempt, StatusCode.OK)
            await self._answer_or_fail(attempt, response)
        finally:
            if attempt.hedge is not None:
                attempt.hedge.cancel()

    def _begin(self, slot: Slot, batch: Batch) -> Attempt:
        is_alone = batch.reason == "alone"
        fingerprint = self._fingerprint(batch.entries[0]).hex() if is_alone else ""
        attempt = self._attempts.begin(self._key, slot, batch, fingerprint)
        self._stalls.begin(attempt)
        self._tally.sent(self.model, batch.rows)
        return attempt

    def _end(self, attempt: Attempt, status: StatusCode) -> None:
        self._stalls.end(attempt, answered=status is StatusCode.OK)
        self._attempts.end(attempt, status)
        self._tally.attempted(self.model, outcome_of(status))

    async def _answer(self, attempt: Attempt, response: Any) -> None:
        answers = self._attempts.answers(attempt, response)
        self._suspicions.clear(self.model, attempt.entries, self.version)
        if attempt.batch.reason == "alone":
            self._clear(attempt.entries[0])
        first: Call = attempt.entries[0].context
        self._concurrency.note(first.hop, first.waited + first.computed)
        for number, (entry, answer) in enumerate(zip(attempt.entries, answers, strict=True), 1):
            self.batcher.resolve(entry, answer)
            if number % ANSWERS_AT_ONCE == 0:
                await asyncio.sleep(0)  # what else is ready now does not wait for the whole batch to be told

    def _clear(self, survivor: Entry) -> None:
        # One verdict for all that have the same input: who waits to be tried for it need not be.
        fingerprint = self._fingerprint(survivor)
        self.batcher.rejoin(lambda entry: self._fingerprint(entry) == fingerprint)

    def _fingerprint(self, entry: Entry) -> bytes:
        return fingerprint_of(self.model, entry.inputs, self.version)

    async def _answer_or_fail(self, attempt: Attempt, response: Any) -> None:
        try:
            await self._answer(attempt, response)
        except errors.InferenceHubError as error:
            # The client's input was sound; it is the worker's answer that cannot be used.
            self._isolate(attempt.batch.waiting(), errors.ModelFailed(error.message))

    def _late(self, _: Entry) -> errors.InferenceHubError:
        if self._workers.is_ready(*self._key):
            return errors.DeadlineExceeded(LATE)
        return self._workers.unknown(self.model) if self._workers.all_ready() else errors.NoWorker(LOST)

    def _refuse_killers(self, batch: Batch) -> None:
        for entry in batch.waiting() if len(self._quarantine) else ():
            try:
                self._quarantine.check(self.model, entry.inputs, self.version)
            except errors.WorkerKiller as error:
                self._tally.input_refused(self.model)
                self.batcher.fail(entry, error)

    # Failures

    async def _failed(self, attempt: Attempt, error: grpc.aio.AioRpcError, connections: int) -> None:
        code = error.code()
        if code is StatusCode.DEADLINE_EXCEEDED:
            self._look_later(attempt, connections)
        if code in LOSSES:
            await self._lost_or_turned_away(attempt, connections)
        elif (code in PERHAPS_ONE_OF_MANY and not is_of_all(error)) or is_too_large(error):
            self._isolate(attempt.batch.waiting(), translated(error))
        else:
            for entry in attempt.batch.waiting():
                self.batcher.fail(entry, translated(error))

    def _isolate(self, entries: Sequence[Entry], error: errors.InferenceHubError) -> None:
        if len(entries) > 1:
            for half in halved(entries):
                self.batcher.put_back(half)
        else:
            for entry in entries:
                self.batcher.fail(entry, error)

    async def _lost_or_turned_away(self, attempt: Attempt, connections: int) -> None:
        # Both have the same status. A worker that says so itself is still there, and nobody is to blame.
        attempt.slot.suspect()
        if attempt.slot.drains:
            self._repeat(attempt.batch.waiting())
        elif connections == attempt.slot.connections and attempt.slot.is_connected() and await attempt.slot.answers():
            self._turned_away(attempt.batch.waiting())
        else:
            self._lost(attempt, attempt.batch.waiting())

    def _turned_away(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.attempts >= MOST_ATTEMPTS:
                self.batcher.fail(entry, errors.NoWorker(LOST))
        self._repeat([entry for entry in entries if not entry.future.done()])

    def _repeat(self, entries: Sequence[Entry]) -> None:
        if self._may_repeat(entries):
            self.batcher.put_back(entries)

    def _may_repeat(self, entries: Sequence[Entry]) -> bool:
        if self._retries.spend(len(entries)):
            self._tally.replayed(self.model, len(entries))
            return True
        for entry in entries:
            self.batcher.fail(entry, errors.NoWorker(LOST))
        return False

    def _lost(self, attempt: Attempt, entries: Sequence[Entry]) -> None:
        killer = self._quarantine.learn(attempt.slot.death_note)
        ids = [entry.context.request_id for entry in entries[:SHOWN_IDS]]
        log.warning(
            "batch lost", model=self.model, slot=attempt.slot.number, requests=len(entries), request_ids=ids,
            killer=killer,
        )  # fmt: skip
        innocent = [entry for entry in entries if not self._is_killer(attempt.slot, entry, killer)]
        if not self._may_repeat(innocent):
            return
        if killer:
            self.batcher.put_back(innocent)
        else:
            self._suspected(attempt, innocent)

    def _is_killer(self, slot: Slot, entry: Entry, killer: str) -> bool:
        # A worker that knows nothing of death notes leaves none: then two deaths of a lonely input are enough.
        if entry.losses >= TRIED_ALONE_TWICE - 1 and not slot.leaves_notes:
            self._quarantine.add(self.model, entry.inputs, self.version)
        elif not killer or self._fingerprint(entry).hex() != killer:
            return False
        call: Call = entry.context
        log.error(
            "input killed its workers", model=self.model, request_id=call.request_id, trace_id=call.trace.trace_id
        )
        self.batcher.fail(entry, errors.WorkerKiller(KILLED))
        return True

    def _look_later(self, attempt: Attempt, connections: int) -> None:
        # Who left or was late goes on in the worker, and may still be its end.
        loop = asyncio.get_running_loop()
        loop.call_later(AFTERWARDS_SECONDS, self._note_death, attempt, connections)

    def _note_death(self, attempt: Attempt, connections: int) -> None:
        if attempt.slot.connections != connections and not attempt.slot.drains:
            self._suspicions.note(self.model, attempt.entries, self.version)

    def _suspected(self, attempt: Attempt, entries: Sequence[Entry]) -> None:
        self._suspicions.note(self.model, attempt.entries, self.version)
        for entry in entries:
            entry.losses += 1
        patience = self._patience(entries)
        alone = [entry for entry in entries if entry.losses > patience]
        self.batcher.put_back(alone, alone=True)
        for half in halved([entry for entry in entries if entry.losses <= patience]):
            self.batcher.put_back(half)

    def _patience(self, entries: Sequence[Entry]) -> int:
        # Once killers are about, a lost batch most likely has one. But lonely inputs run one after the other, and where
        # the model is slow that alone would make their neighbours late.
        if not entries or not len(self._quarantine):
            return HALVED_ONCE
        seconds = len(entries) * self._stalls.durations.p99
        return 0 if seconds < min([entry.deadline.remaining() for entry in entries]) / 2 else HALVED_ONCE

    async def _saved_by_hedge(self, attempt: Attempt) -> bool:
        return attempt.hedge is not None and await attempt.hedge is StatusCode.OK
