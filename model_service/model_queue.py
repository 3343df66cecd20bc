"""One model's Batcher in a worker. Its consumers are the model's compute threads or, for quick models, the event loop.

So the batches of several gateways and of direct clients are merged. A merged batch that fails is run again call by
call: its neighbours succeed, and each failure is told to the call whose it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Hashable, Sequence
from functools import partial

import structlog

from inference_core.admission import Admission
from inference_core.batching import Batch, Batcher, Consumers, Entry
from inference_core.deadline import Deadline, now
from inference_core.errors import DeadlineExceeded, InferenceHubError, ModelFailed
from inference_core.lanes import Lanes
from inference_core.stacking import signature_of
from inference_core.tensors import Arrays
from model_service.attempts import Attempt
from model_service.call import BatchTrace, Call, Computation, described
from model_service.inline import InlineSwitch, Stopwatch
from model_service.places import Place, Places
from model_service.registry import LoadedModel
from otel.logs import SUBJECT

NOT_RUN = "The deadline passed before the model was run."
NOT_ANSWERED = "The deadline passed before the model answered."
ALIKE = "alike"
DAY_SECONDS = 86_400.0
log = structlog.get_logger()
Outcome = tuple[Entry, Arrays | InferenceHubError]
Hangs = tuple[float, Callable[[], object]]
"""After how many seconds a computation that nobody waits for hangs, and what is done when all of a model's do."""

NEVER: Hangs = (DAY_SECONDS, int)
Answer = Callable[[Entry, Arrays | InferenceHubError], object]


class ModelQueue(Consumers[Place]):
    """See the module's docstring. `observe` is told of each attempt once it has ended."""

    def __init__(
        self,
        model: LoadedModel,
        admission: Admission,
        switch: InlineSwitch,
        observe: Callable[[Attempt], None],
        hangs: Hangs,
    ) -> None:
        description = model.on_disk.description
        self._name, self._version, self._runtime = model.on_disk.name, model.on_disk.version, model.runtime
        self._switch, self._observe = switch, observe
        self._patience, self._hangs = hangs
        self._places = Places(model.threads)
        self._ended_one = asyncio.Event()
        self._is_turn_taken = False
        self._max_rows = description.max_batch_size
        self._holds = description.max_queue_delay > 0
        # Where every size but the number of rows is declared, whatever passed the signature check is alike.
        self._is_alike = all(size != -1 for tensor in description.inputs for size in tensor.shape[1:])
        lanes: Lanes[Entry] = Lanes(description.max_batch_size, description.max_queue_delay)
        self._batcher: Batcher[Place] = Batcher(self, admission, lanes, _late)

    @property
    def rows(self) -> int:
        """How many rows wait."""
        return self._batcher.queued_rows + self._places.rows_waiting

    @property
    def is_inline(self) -> bool:
        """Whether the model computes on the event loop now."""
        return self._switch.is_on

    @property
    def computes(self) -> bool:
        """Whether a thread computes now, also for callers who have left."""
        return self._places.any_computing()

    async def settled(self, seconds: float) -> None:
        """Wait until no thread computes, also for callers who have left; at most so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.computes:
                    self._ended_one.clear()
                    await self._ended_one.wait()

    async def compute(self, inputs: Arrays, deadline: Deadline, call: Call) -> Arrays:
        """Return the model's outputs for a call's rows.

        Raises Overloaded, DeadlineExceeded, ModelFailed or what the model refuses with.
        """
        key: Hashable = ALIKE if self._is_alike else signature_of(inputs)
        entry = Entry(key, inputs, deadline, call)
        if self._may_run_at_once(entry):
            return self._at_once(entry)
        outputs: Arrays = await self._batcher.answer(entry)
        return outputs

    def _may_run_at_once(self, entry: Entry) -> bool:
        is_free = bool(self._places.idle) and not self._holds and not self._batcher.queued_rows
        could_share = self._is_turn_taken and 2 * entry.rows <= self._max_rows
        return is_free and not could_share and self._switch.allows(entry.size)

    def _end_turn(self) -> None:
        self._is_turn_taken = False

    def _at_once(self, entry: Entry) -> Arrays:
        # The Batcher's turn would take longer than the model. Small calls that are ready as well share the next batch.
        self._is_turn_taken = True
        asyncio.get_running_loop().call_soon(self._end_turn)
        entry.deadline.check()
        entry.queued_at = now()
        place = self._places.idle[-1]
        attempt = Attempt([entry])
        self._begin(attempt, place, "idle")
        try:
            (outputs,) = self._attempt(attempt, on_loop=True)
        except BaseException as error:
            raise self._told(error) from error
        else:
            return outputs
        finally:
            self._note([attempt], on_loop=True)

    async def close(self) -> None:
        """Answer what waits as late and wait for what runs."""
        await self._batcher.close()

    def claim(self, *, alone: bool) -> Place | None:  # noqa: ARG002  # each place is one thread, so nothing else uses it
        """As `Consumers.claim`; a full batch, which nothing that comes later could join, may wait with its thread."""
        return self._places.claim(may_wait=not self._switch.is_on and self._batcher.queued_rows >= self._max_rows)

    def release(self, place: Place) -> None:
        """As `Consumers.release`; a thread that still computes for callers who left is idle only afterwards."""
        if place.is_computing:
            place.is_left = True
            asyncio.get_running_loop().call_later(self._patience, self._look_for_hangs)
            return
        self._places.release(place)

    def _look_for_hangs(self) -> None:
        if self._places.all_hang(self._patience):
            log.error("model hangs", model=self._name, version=self._version, seconds=self._patience)
            self._hangs()

    async def run(self, place: Place, batch: Batch) -> None:
        """As `Consumers.run`."""
        place.is_on_loop = self._switch.allows(sum([entry.size for entry in batch.entries]))
        if place.is_on_loop:
            self._answer(*self._compute(place, batch, self._answer_one), on_loop=True)
            return
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        place.is_computing, place.rows = True, batch.rows
        place.thread.submit(partial(self._compute_in_thread, loop, place, batch, done))
        await done

    def _compute_in_thread(
        self, loop: asyncio.AbstractEventLoop, place: Place, batch: Batch, done: asyncio.Future[None]
    ) -> None:
        outcomes: list[Outcome] = []
        attempts: list[Attempt] = []
        place.begun_at = now()

        def answer(entry: Entry, outcome: Arrays | InferenceHubError) -> None:
            loop.call_soon_threadsafe(self._answer_one, entry, outcome)

        try:
            outcomes, attempts = self._compute(place, batch, answer)
        except BaseException:  # a thread that ends would leave its place busy for ever
            log.exception("compute thread failed", model=self._name, version=self._version)
        finally:
            self._places.ended(place)
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._ended, place, outcomes, attempts, done)

    def _ended(
        self, place: Place, outcomes: list[Outcome], attempts: list[Attempt], done: asyncio.Future[None]
    ) -> None:
        place.is_computing = False
        self._ended_one.set()
        self._answer(outcomes, attempts, on_loop=False)
        if place.is_left:
            self.release(place)
            self._batcher.wake()
        if not done.done():
            done.set_result(None)

    def _answer(self, outcomes: list[Outcome], attempts: list[Attempt], *, on_loop: bool) -> None:
        for entry, outcome in outcomes:
            self._answer_one(entry, outcome)
        self._note(attempts, on_loop=on_loop)

    def _note(self, attempts: Sequence[Attempt], *, on_loop: bool) -> None:
        was_on = self._switch.is_on
        for attempt in attempts:
            ended_at = attempt.started_at + attempt.seconds
            self._switch.note(attempt.size, attempt.slowness, ended_at, on_loop=on_loop)
            self._observe(attempt)
        if self._switch.is_on is not was_on:
            self._tell_place(attempts)

    def _tell_place(self, attempts: Sequence[Attempt]) -> None:
        place = "event loop" if self._switch.is_on else "threads"
        slowest = round(max([attempt.slowness for attempt in attempts]) * 1000, 3)
        SUBJECT.set(None)
        log.info("computing moved", model=self._name, version=self._version, to=place, milliseconds=slowest)

    def _answer_one(self, entry: Entry, outcome: Arrays | InferenceHubError) -> None:
        if isinstance(outcome, InferenceHubError):
            self._batcher.fail(entry, outcome)
        else:
            self._batcher.resolve(entry, outcome)

    # Below here everything may run in a compute thread.

    def _compute(self, place: Place, batch: Batch, answer: Answer) -> tuple[list[Outcome], list[Attempt]]:
        wanted = [entry for entry in batch.entries if _is_wanted(entry)]
        outcomes: list[Outcome] = []
        if len(wanted) < len(batch.entries):
            outcomes = [(entry, _late(entry)) for entry in set(batch.entries).difference(wanted)]
        if not wanted:
            return outcomes, []
        attempt = Attempt(wanted)
        self._begin(attempt, place, batch.reason)
        try:
            shares = self._attempt(attempt, on_loop=place.is_on_loop)
            return [*outcomes, *zip(wanted, shares, strict=True)], [attempt]
        except BaseException as error:  # noqa: BLE001  # whatever it is, even exit(), the worker goes on
            if len(wanted) == 1:
                return [*outcomes, (wanted[0], self._told(error))], [attempt]
            log.info("batch failed", error=type(error).__name__, rows=attempt.rows)
        return outcomes, [attempt, *self._one_by_one(wanted, place, answer)]

    def _one_by_one(self, entries: Sequence[Entry], place: Place, answer: Answer) -> list[Attempt]:
        attempts = []
        for entry in entries:
            if not _is_wanted(entry):
                answer(entry, _late(entry))
                continue
            attempt = Attempt([entry])
            attempts.append(attempt)
            self._begin(attempt, place, "alone")
            try:
                (outputs,) = self._attempt(attempt, on_loop=place.is_on_loop)
                # A copy, for the next one is computed before the loop has read it, and a model may reuse its buffer.
                answer(entry, {name: array.copy() for name, array in outputs.items()})
            except BaseException as error:  # noqa: BLE001  # as above
                answer(entry, self._told(error))
        return attempts

    def _begin(self, attempt: Attempt, place: Place, reason: str) -> None:
        calls: list[Call] = [entry.context for entry in attempt.entries]
        SUBJECT.set(partial(described, calls))
        attempt.started_at = started_at = now()
        requests = sum([call.requests for call in calls])
        index, batch = 0, BatchTrace()
        for entry, call in zip(attempt.entries, calls, strict=True):
            waited = self._holds or entry.queued_at < place.idle_since
            computation = Computation(batch, entry.queued_at, started_at, waited=waited)
            computation.batch_rows, computation.batch_requests = attempt.rows, requests
            computation.reason, computation.index = reason, index
            call.computation = computation
            index += call.requests

    def _attempt(self, attempt: Attempt, *, on_loop: bool) -> list[Arrays]:
        watch = Stopwatch()
        try:
            return attempt.run(self._runtime, watch.started_at)
        finally:
            attempt.seconds = now() - watch.started_at
            attempt.slowness = watch.judged(
                attempt.seconds, self._switch.limit, only_computes=self._runtime.only_computes, on_loop=on_loop
            )
            for entry in attempt.entries:
                computation = entry.context.computation
                computation.ended_at, computation.error = watch.started_at + attempt.seconds, attempt.error

    def _told(self, error: BaseException) -> InferenceHubError:
        if isinstance(error, InferenceHubError):
            return error
        log.error("model failed", model=self._name, version=self._version, exc_info=error)
        failure = ModelFailed(f"Model {self._name} failed on this input; the worker's log says why.")
        failure.__cause__ = error
        return failure


def _is_wanted(entry: Entry) -> bool:
    return not entry.future.done() and now() < entry.deadline.at


def _late(entry: Entry) -> InferenceHubError:
    return DeadlineExceeded(NOT_RUN if entry.context.computation is None else NOT_ANSWERED)
