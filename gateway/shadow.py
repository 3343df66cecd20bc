"""Requests once more, to another version: nobody waits for the answers, they are only compared.

A request is mirrored after its answer has left, and only while this process has nothing else to do for that model:
what waits is at most MOST_WAITING requests, what is under way at most `in_flight`, and they belong to the class that
gives way. Whatever cannot be sent soon is dropped and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec
import numpy as np
import structlog

from gateway.call import Call
from gateway.dispatch import Dispatcher
from gateway.tally import Tally
from inference_core.deadline import Deadline, now
from inference_core.errors import InferenceHubError
from inference_core.inference import Inference
from inference_core.tensors import Array, Arrays
from otel.requests import RequestTrace

MOST_WAITING = 64
PATIENCE_SECONDS = 1.0
PAUSE_SECONDS = 0.005
DEADLINE_SECONDS = 10.0
NEAR_RELATIVE, NEAR_ABSOLUTE = 1e-3, 1e-5
LONGEST_ID = 57

log = structlog.get_logger()


class Mirrored(msgspec.Struct, frozen=True, gc=False):
    """A request that was answered, and the version that is to see it, too."""

    inputs: Arrays
    answer: Inference
    version: str
    request_id: str
    trace: RequestTrace
    since: float


class Difference(msgspec.Struct, frozen=True):
    """How two answers to one input differ: `agree` where they say the same.

    `most`: the largest absolute difference of any two numbers, 0.0 where there are none; infinite where only
    one of them is finite, or shapes or names differ.
    """

    agree: bool
    most: float


class Shadow:
    """What one process mirrors of all models. `is_busy` tells whether a model has requests of its own now."""

    def __init__(self, dispatcher: Dispatcher, tally: Tally, in_flight: int, is_busy: Callable[[str], bool]) -> None:
        self._dispatcher = dispatcher
        self._tally = tally
        self._in_flight = in_flight
        self._is_busy = is_busy
        self._waiting: deque[Mirrored] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def mirror(self, inputs: Arrays, version: str, call: Call, answered: asyncio.Future[Inference]) -> None:
        """Note a request that was just answered; does nothing for one that failed. Its answer leaves first."""
        if answered.cancelled() or answered.exception() is not None:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._drop(self._waiting.popleft())
        self._waiting.append(Mirrored(inputs, answered.result(), version, call.request_id, call.trace, now()))
        self._look_later()

    async def close(self) -> None:
        """Give up what waits and what is under way."""
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _look_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        while self._waiting and self._waiting[0].since + PATIENCE_SECONDS < now():
            self._drop(self._waiting.popleft())
        while self._waiting and len(self._running) < self._in_flight:
            if self._is_busy(self._waiting[0].answer.model):
                break
            task = asyncio.get_running_loop().create_task(self._run(self._waiting.popleft()))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if self._waiting:
            self._look_later()

    def _drop(self, mirrored: Mirrored) -> None:
        self._tally.mirrored(mirrored.answer.model, mirrored.version, "dropped")

    async def _run(self, mirrored: Mirrored) -> None:
        model, version, started = mirrored.answer.model, mirrored.version, now()
        trace = RequestTrace(mirrored.trace.trace_id, mirrored.trace.span_id, "", "", "")
        request_id = f"{mirrored.request_id[:LONGEST_ID]}.shadow"
        call = Call(Deadline.after(DEADLINE_SECONDS), request_id, trace, background=True)
        try:
            answer = await self._dispatcher.infer(model, mirrored.inputs, call, version)
        except InferenceHubError as error:
            self._tally.mirrored(model, version, "failed")
            log.debug("shadow failed", model=model, version=version, request_id=request_id, reason=error.message)
            return
        except Exception:
            self._tally.mirrored(model, version, "failed")
            log.exception("shadow failed", model=model, version=version, request_id=request_id)
            return
        found = difference(mirrored.answer.outputs, answer.outputs)
        self._tally.mirrored(model, version, "agreed" if found.agree else "differed", now() - started, found.most)


def difference(ours: Arrays, theirs: Arrays) -> Difference:
    """Compare two answers.

    They agree where their decisions do: whole numbers and texts are equal. Where an answer has nothing but other
    numbers, those have to be near each other.
    """
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        return Difference(agree=False, most=np.inf)
    measured = [name for name, array in ours.items() if array.dtype.kind == theirs[name].dtype.kind == "f"]
    decided = ours.keys() - set(measured)
    agree = all(np.array_equal(ours[name], theirs[name]) for name in decided)
    if not decided:
        agree = all(_are_near(ours[name], theirs[name]) for name in measured)
    return Difference(agree, max([_most(ours[name], theirs[name]) for name in ours], default=0.0))


def _are_near(ours: Array, theirs: Array) -> bool:
    return bool(np.allclose(ours, theirs, NEAR_RELATIVE, NEAR_ABSOLUTE, equal_nan=True))


def _most(ours: Array, theirs: Array) -> float:
    if ours.dtype.kind not in "fiu" or theirs.dtype.kind not in "fiu" or not ours.size:
        return 0.0
    with np.errstate(all="ignore"):
        apart = np.abs(ours.astype("f8") - theirs.astype("f8"))
    same = np.isnan(ours) & np.isnan(theirs) | (ours == theirs)
    return float(np.max(np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))))
