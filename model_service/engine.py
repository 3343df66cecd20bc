"""Runs one request on one model; knows no transport."""

from __future__ import annotations

import asyncio
import contextlib
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

FLUSH_SECONDS = 0.5
SETTLE_SECONDS = 5.0


class BoundsOfModel(msgspec.Struct, frozen=True):
    """How many rows and bytes may wait for one model; None: as many as the settings say for every model."""

    rows: int | None = None
    size: int | None = None


class Computing(msgspec.Struct, frozen=True):
    """Up to how many seconds a model runs on the event loop, 0 for never; and what is done about one that hangs."""

    inline_seconds: float
    hangs: Hangs = NEVER


class Serving:
    """What the engine has of one loaded model. `calls` counts those under way; `unused` is set while there are none."""

    __slots__ = ("calls", "model", "noted", "queue", "statistics", "unused")

    def __init__(self, model: LoadedModel, queue: ModelQueue, noted: ModelComputations, statistics: Statistics) -> None:
        self.model = model
        self.queue = queue
        self.noted = noted
        self.statistics = statistics
        self.calls = 0
        self.unused = asyncio.Event()


class Engine:
    """Checks requests against a model's signature and queues them for its compute threads."""

    def __init__(
        self,
        registry: Registry,
        admission: Callable[[BoundsOfModel], Admission],
        computing: Computing,
        metrics: WorkerMetrics,
        isolation: Isolation,
    ) -> None:
        self._registry = registry
        self._admission = admission
        self._computing = computing
        self._metrics = metrics
        self._isolation = isolation
        self._serving: dict[LoadedModel, Serving] = {}
        self._statistics: dict[tuple[str, str], Statistics] = {}
        self._flushing: asyncio.TimerHandle | None = None

    async def infer(self, model: str, version: str, inputs: Arrays, deadline: Deadline, call: Call) -> Inference:
        """Return the model's outputs for a call's rows, and note on the call who computed them and how.

        Raises UnknownModel, InvalidInput, Overloaded, DeadlineExceeded (nothing is computed after it) or ModelFailed.
        """
        loaded = self._registry.get(model, version)
        serving = self._serving.get(loaded) or self._begin(loaded)
        on_disk = loaded.on_disk
        call.model, call.version = on_disk.name, on_disk.version
        serving.calls += 1
        try:
            check_inputs(on_disk.name, on_disk.description.inputs, inputs, on_disk.description.limits.max_rows)
            outputs = await self._answer(serving, inputs, deadline, call)
        except BaseException as error:
            serving.statistics.failed(call)
            if isinstance(error, Overloaded):
                serving.noted.refused(error.reason)
            raise
        finally:
            serving.calls -= 1
            if not serving.calls:
                serving.unused.set()
        serving.statistics.succeeded(call)
        return Inference(on_disk.name, on_disk.version, outputs)

    def statistics(self, name: str, version: str) -> Statistics:
        """Return what is counted of a model version, over all that was loaded in its name."""
        return self._statistics.setdefault((name, version), Statistics())

    async def _answer(self, serving: Serving, inputs: Arrays, deadline: Deadline, call: Call) -> Arrays:
        if self._flushing is None:
            self._flush_soon()
        if call.fingerprint:
            async with self._isolation.alone(call.fingerprint):
                try:
                    return await serving.queue.compute(inputs, deadline, call)
                finally:
                    # A caller that left does not stop the thread, and until it is through it may still kill.
                    await serving.queue.settled(SETTLE_SECONDS)
        if not self._isolation.is_open:
            await self._isolation.wait_open()
        self._isolation.begin()
        try:
            return await serving.queue.compute(inputs, deadline, call)
        finally:
            self._isolation.end()

    def rows_waiting(self, model: str, version: str = "") -> int:
        """Return how many rows wait for a model; raises UnknownModel."""
        serving = self._serving.get(self._registry.get(model, version))
        return 0 if serving is None else serving.queue.rows

    async def retire(self, loaded: LoadedModel, seconds: float) -> bool:
        """Wait until a model that the registry no longer has is done with its calls, and forget it.

        Returns False where a computation still runs after that many seconds: it cannot be stopped, nor may what it
        works with be freed.
        """
        serving = self._serving.get(loaded)
        if serving is None:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while serving.calls:
                    serving.unused.clear()
                    await serving.unused.wait()
        await serving.queue.settled(seconds)
        is_done = not serving.queue.computes
        if is_done:
            await serving.queue.close()
        del self._serving[loaded]
        serving.noted.flush(0, is_inline=False)
        return is_done

    def forget(self, name: str, version: str) -> None:
        """Drop what was counted of a version that is gone."""
        self._statistics.pop((name, version), None)

    async def close(self) -> None:
        """Answer what waits as late and wait for what runs; the registry is closed after this."""
        for serving in self._serving.values():
            await serving.queue.close()
        if self._flushing is not None:
            self._flushing.cancel()
        self._flush()

    def _begin(self, loaded: LoadedModel) -> Serving:
        description, name, version = loaded.on_disk.description, loaded.on_disk.name, loaded.on_disk.version
        noted, statistics = self._metrics.model(name, version), self.statistics(name, version)
        switch = InlineSwitch(self._computing.inline_seconds if description.inline else 0.0)
        bounds = BoundsOfModel(description.limits.max_queue_rows, description.limits.max_queue_bytes)
        observe = partial(_note, noted, statistics)
        queue = ModelQueue(loaded, self._admission(bounds), switch, observe, self._computing.hangs)
        serving = self._serving[loaded] = Serving(loaded, queue, noted, statistics)
        return serving

    def _flush(self) -> None:
        self._flushing = None
        for serving in self._serving.values():
            serving.noted.flush(serving.queue.rows, is_inline=serving.queue.is_inline)
        if any(serving.queue.rows for serving in self._serving.values()):
            self._flush_soon()

    def _flush_soon(self) -> None:
        self._flushing = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)


def _note(noted: ModelComputations, statistics: Statistics, attempt: Attempt) -> None:
    statistics.computed(attempt)
    waits = [attempt.started_at - entry.queued_at for entry in attempt.entries]
    noted.note(attempt.rows, attempt.seconds, waits)
