"""The Batcher's one timer, on the event loop of the programs."""

from __future__ import annotations

import asyncio

import uvloop

from tests.inference_core.desk import Desk


def test_a_reminder_works_on_uvloop_too() -> None:
    """A pause of next to nothing, again and again, wakes the Batcher on the event loop that the programs run on."""

    async def remind() -> int:
        desk = Desk(places=0)
        desk.send(desk.entry())
        for seconds in (0.0, 1e-9, 0.0001, 0.001, 0.0):
            desk.batcher.wake_after(seconds)
            await asyncio.sleep(0.002)
        return desk.batcher.queued_rows

    assert uvloop.run(remind()) == 1
