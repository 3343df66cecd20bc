"""Consumers that do everything a consumer can do wrong, for the random histories of test_histories."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from inference_core.batching import Batch, Batcher, Consumers, Entry
from inference_core.errors import ModelFailed, WorkerKiller
from inference_core.stacking import split, stack
from inference_core.tensors import Arrays

MOST_LOSSES = 3
KINDS = {
    "answers": 10,
    "answers at once": 3,
    "raises": 1,
    "raises at once": 1,
    "answers some": 1,
    "answers twice": 1,
    "cancels itself": 1,
    "does not listen": 1,
    "hangs": 1,
    "hedges": 2,
    "puts back twice": 1,
    "puts back itself": 1,
}


class Boom(Exception):
    """What a consumer raises."""


@dataclass(eq=False)
class Place:
    """A worker: `running` batches, at most `capacity`, none but one if `alone`."""

    capacity: int
    is_alive: bool = True
    alone: bool = False
    running: int = 0
    losses: dict[asyncio.Future[None], None] = field(default_factory=dict)


def computed(inputs: Arrays) -> Arrays:
    """Return what the model answers: twice each row's identity, and one."""
    return {"y": inputs["x"] * 2 + 1}


class Places(Consumers[Place]):
    """Places that die and come back; `blame` is told whatever the Batcher does wrong."""

    def __init__(self, choice: random.Random, places: list[Place], blame: Callable[[str], None]) -> None:
        self.places = places
        self.batcher: Batcher[Place]
        self.unanswered: set[Entry] = set()
        self.running: dict[Batch, str] = {}
        self._choice = choice
        self._blame = blame
        self._reserved: Place | None = None

    def is_free(self, *, alone: bool) -> bool:
        """Tell whether `claim` would find a place."""
        return bool(self._idle_for_one() if alone else self._free())

    def claim(self, *, alone: bool) -> Place | None:
        """Take the least busy place, or the one that was reserved."""
        free = self._idle_for_one() if alone else self._free()
        if not free:
            if alone and self._reserved is None:
                able = [place for place in _alive(self.places) if not place.alone]
                self._reserved = min(able, key=lambda place: place.running, default=None)
            return None
        place = min(free, key=lambda place: place.running)
        if alone:
            place.alone, self._reserved = True, None
        place.running += 1
        return place

    def release(self, place: Place) -> None:
        """Give a place back."""
        if place.running <= 0:
            self._blame("a place was released twice")
        place.running -= 1
        place.alone = False

    def unreserve(self) -> None:
        """Use the reserved place as any other again."""
        self._reserved = None

    def kill(self, place: Place) -> None:
        """End a place with all that it runs."""
        place.is_alive = False
        if self._reserved is place:
            self._reserved = None
        self.batcher.wake()
        for loss in place.losses:
            if not loss.done():
                loss.set_result(None)

    def revive(self, place: Place) -> None:
        """Bring a place back."""
        place.is_alive = True
        self.batcher.wake()

    async def run(self, place: Place, batch: Batch) -> None:
        """Do one of the things in KINDS, or lose the batch when the place dies."""
        self._check(place, batch)
        kind = self._choice.choices(list(KINDS), list(KINDS.values()))[0]
        loss: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place.losses[loss] = None
        self.running[batch] = kind
        try:
            await self._behave(kind, batch, loss)
            if loss.done():
                self._replay(batch.waiting())
        except asyncio.CancelledError:
            if kind != "cancels itself" and batch.waiting():
                self._blame("a batch was cancelled for which somebody waits")
            raise
        finally:
            self.unanswered.update(batch.waiting())
            del place.losses[loss]
            del self.running[batch]

    async def _behave(self, kind: str, batch: Batch, loss: asyncio.Future[None]) -> None:
        if "at once" not in kind:
            await self._pause(kind, loss)
        if loss.done():
            return
        if "raises" in kind:
            raise Boom
        if kind == "cancels itself":
            raise asyncio.CancelledError
        if kind == "hedges":
            await self._hedge(batch, loss)
        elif "puts back" in kind:
            self._put_back_oddly(batch, times=2 if "twice" in kind else 1)
        elif kind == "answers some":
            self._answer([entry for entry in batch.waiting() if self._choice.random() < 0.5])
        else:
            for _ in range(2 if kind == "answers twice" else 1):
                self._answer(batch.entries)

    async def _pause(self, kind: str, loss: asyncio.Future[None]) -> None:
        seconds = 30.0 if kind == "hangs" else self._choice.choice([0.0, 0.001, 0.01, 0.05, 0.3])
        try:
            await asyncio.wait({loss}, timeout=seconds)
        except asyncio.CancelledError:
            if kind != "does not listen":
                raise
            await asyncio.sleep(0.01)

    async def _hedge(self, batch: Batch, loss: asyncio.Future[None]) -> None:
        entries = batch.waiting()
        self.batcher.put_back(entries)
        await asyncio.wait({loss}, timeout=self._choice.choice([0.0, 0.01, 0.1]))
        self._answer(entries)

    def _put_back_oddly(self, batch: Batch, times: int) -> None:
        entries = batch.waiting()
        if not entries or entries[0].losses >= MOST_LOSSES:
            self._answer(entries)
            return
        for entry in entries:
            entry.losses += 1
        for _ in range(times):
            self.batcher.put_back(entries, alone=self._choice.random() < 0.3)

    def _answer(self, entries: list[Entry]) -> None:
        if not entries:
            return
        answers = split(computed(stack([entry.inputs for entry in entries])), [entry.rows for entry in entries])
        for entry, answer in zip(entries, answers, strict=True):
            self.batcher.resolve(entry, answer)
        if self._choice.random() < 0.1:
            self.batcher.fail(entries[0], ModelFailed("Too late: it is answered."))

    def _replay(self, entries: list[Entry]) -> None:
        for entry in entries:
            entry.losses += 1
        for entry in [entry for entry in entries if entry.losses >= MOST_LOSSES]:
            self.batcher.fail(entry, WorkerKiller("It kills."))
        self.batcher.put_back([entry for entry in entries if entry.losses == MOST_LOSSES - 1], alone=True)
        once = [entry for entry in entries if entry.losses == 1]
        middle = (len(once) + 1) // 2
        for half in (once[:middle], once[middle:]):
            together = object()
            for entry in half:
                entry.key = (entry.key, together)
            self.batcher.put_back(half)

    def _check(self, place: Place, batch: Batch) -> None:
        if place.running > (1 if place.alone else place.capacity):
            self._blame("a place runs more than it may")
        if any(entry.alone for entry in batch.entries) != (batch.reason == "alone"):
            self._blame("an entry that is to be alone is not")
        if batch.reason == "alone" and (len(batch.entries) > 1 or not place.alone):
            self._blame("an entry that is to be alone has company")
        if any(entry.deadline.at <= batch.formed_at for entry in batch.entries):
            self._blame("a batch was formed with an entry that was late")
        if any(entry.future.done() for entry in batch.entries) and asyncio.get_running_loop().time() > batch.formed_at:
            self._blame("a batch was run with an entry that had left")

    def _free(self) -> list[Place]:
        return [
            place
            for place in self.places
            if place.is_alive and not place.alone and place is not self._reserved and place.running < place.capacity
        ]

    def _idle_for_one(self) -> list[Place]:
        return [place for place in _alive(self.places) if not place.running and self._reserved in (None, place)]


def _alive(places: Iterable[Place]) -> list[Place]:
    return [place for place in places if place.is_alive]
