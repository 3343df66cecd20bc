"""Fake workers that die as a test says, and come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from inference_core import death_note
from tests.gateway.fake_worker import Asked, FakeWorker, echo
from tests.gateway.hop import Hop, hop
from tests.processes import ended_pid

Deadly = Callable[[Asked], bool]


class Mortal:
    """A fake worker that dies, and comes back, as often as `deadly` says; a worker like ours leaves a death note."""

    def __init__(self, deadly: Deadly, *, leaves_notes: bool = True, returns: bool = True) -> None:
        self.fake = FakeWorker(answer=echo, before=self._before)
        self.deadly = deadly
        self.deaths: list[Asked] = []
        self._leaves_notes = leaves_notes
        self._returns = returns
        self._hop: Hop | None = None

    def live_in(self, hop: Hop) -> None:
        """Say where it may die."""
        self._hop = hop

    async def _before(self, asked: Asked) -> None:
        assert self._hop is not None
        (running,) = [running for running in self._hop.running if running.worker is self.fake]
        note = running.socket.with_suffix(".alone")
        note.unlink(missing_ok=True)  # as a worker does that has started again
        if not self.deadly(asked):
            return
        if asked.alone and self._leaves_notes:
            death_note.write(note, asked.alone, ended_pid())
        self.deaths.append(asked)
        running.line.cut(for_good=not self._returns)
        await asyncio.Event().wait()


def one_in(poison: set[int]) -> Deadly:
    """Return what kills a worker for good: any of these values."""
    return lambda asked: bool(poison & set(asked.values))


@contextlib.asynccontextmanager
async def mortals(*them: Mortal, **settings_: Any) -> AsyncIterator[Hop]:
    """Connect to mortal workers."""
    async with hop(*(mortal.fake for mortal in them), **settings_) as running:
        for mortal in them:
            mortal.live_in(running)
        yield running


def once() -> Deadly:
    """Return what kills a worker at its first call."""
    left = [True]

    def deadly(_: Asked) -> bool:
        return bool(left and left.pop())

    return deadly


def never(_: Asked) -> bool:
    """Kill nobody."""
    return False
