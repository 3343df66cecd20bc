"""Runs one request on one model; knows no transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec

from inference_core.admission import Admission
from inference_core.deadline import Deadline
from inference_core.errors import Overloaded
from inference_core.inference import Inference
from inference_core.tensors import Arrays
from model_service.attempts import Attempt
from model_service.call import Call
from model_service.inline import InlineSwitch
from model_service.isolation import Isolation
from model_service.model_queue import NEVER, Hangs, ModelQueue
from model_service.registry import LoadedModel, Registry
from model_service.signature import check_inputs
from model_service.statistics import Statistics
from otel.metrics import ModelComputations, WorkerMetrics

FLUSH_SECONDS = 0.25
SETTLE_SECONDS = 5.0


class Computing(msgspec.Struct, frozen=True):
    """Up to how many seconds a model runs on the event loop, 0 for never; and what is done about one that hangs."""

    inline_seconds: float
    hangs: Hangs = NEVER


class Engine:
    """Checks requests against a model's signature and queues them for its compute threads."""

    def __init__(
        self,
        registry: Registry,
        admission: Callable[[], Admission],
        computing: Computing,
        metrics: WorkerMetrics,
        isolation: Isolation,
    ) -> None:
        self._registry = registry
        self._admission = admission
        self._computing = computing
        self._metrics = metrics
        self._isolation = isolation
        self._queues: dict[LoadedModel, ModelQueue] = {}
        self._noted: dict[ModelQueue, ModelComputations] = {}
        self._statistics: dict[LoadedModel, Statistics] = {}
        self._flushing: asyncio.TimerHandle | None = None

    async def infer(self, model: str, version: str, inputs: Arrays, deadline: Deadline, call: Call) -> Inference:
        """Return the model's outputs for a call's rows, and note on the call who computed them and how.

        Raises UnknownModel, InvalidInput, Overloaded, DeadlineExceeded (nothing is computed after it) or ModelFailed.
        """
        loaded = self._registry.get(model, version)
        on_disk = loaded.on_disk
        call.model, call.version = on_disk.name, on_disk.version
        statistics = self.statistics(loaded)
        try:
            check_inputs(on_disk.name, on_disk.description.inputs, inputs)
            outputs = await self._answer(self._queues.get(loaded) or self._begin(loaded), inputs, deadline, call)
        except BaseException:
            statistics.failed(call)
            raise
        statistics.succeeded(call)
        return Inference(on_disk.name, on_disk.version, outputs)

    def statistics(self, loaded: LoadedModel) -> Statistics:
        """Return what is counted of a loaded model."""
        statistics = self._statistics.get(loaded)
        if statistics is None:
            statistics = self._statistics[loaded] = Statistics()
        return statistics

    async def _answer(self, queue: ModelQueue, inputs: Arrays, deadline: Deadline, call: Call) -> Arrays:
        if self._flushing is None:
            self._flush_soon()
        if call.fingerprint:
            async with self._isolation.alone(call.fingerprint):
                try:
                    return await self._computed(queue, inputs, deadline, call)
                finally:
                    # A caller that left does not stop the thread, and until it is through it may still kill.
                    await queue.settled(SETTLE_SECONDS)
        if not self._isolation.is_open:
            await self._isolation.wait_open()
        self._isolation.begin()
        try:
            return await self._computed(queue, inputs, deadline, call)
        finally:
            self._isolation.end()

    async def _computed(self, queue: ModelQueue, inputs: Arrays, deadline: Deadline, call: Call) -> Arrays:
        try:
            return await queue.compute(inputs, deadline, call)
        except Overloaded as error:
            self._noted[queue].refused(error.reason)
            raise

    def rows_waiting(self, model: str, version: str = "") -> int:
        """Return how many rows wait for a model; raises UnknownModel."""
        queue = self._queues.get(self._registry.get(model, version))
        return 0 if queue is None else queue.rows

    async def close(self) -> None:
        """Answer what waits as late and wait for what runs; the registry is closed after this."""
        for queue in self._queues.values():
            await queue.close()
        if self._flushing is not None:
            self._flushing.cancel()
        self._flush()

    def _begin(self, loaded: LoadedModel) -> ModelQueue:
        description = loaded.on_disk.description
        noted = self._metrics.model(loaded.on_disk.name, loaded.on_disk.version)
        switch = InlineSwitch(self._computing.inline_seconds if description.inline else 0.0)
        observe = partial(_note, noted, self.statistics(loaded))
        queue = ModelQueue(loaded, self._admission(), switch, observe, self._computing.hangs)
        self._queues[loaded] = queue
        self._noted[queue] = noted
        return queue

    def _flush(self) -> None:
        self._flushing = None
        for queue, noted in self._noted.items():
            noted.flush(queue.rows, is_inline=queue.is_inline)
        if any(queue.rows for queue in self._noted):
            self._flush_soon()

    def _flush_soon(self) -> None:
        self._flushing = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)


def _note(noted: ModelComputations, statistics: Statistics, attempt: Attempt) -> None:
    statistics.computed(attempt)
    waits = [attempt.started_at - entry.queued_at for entry in attempt.entries]
    noted.note(attempt.rows, attempt.seconds, waits)
