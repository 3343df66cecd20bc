"""What a Batcher answers at once under overload, and what it does not take for one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inference_core.admission import Limits
from inference_core.errors import Overloaded
from tests.inference_core.desk import Desk, settled
from tests.virtual_time import in_virtual_time

TARGET, QUICK, LONG = 0.05, 0.005, 2.0
LIMITS = Limits(1000, 1 << 20, TARGET, sheds=True)


async def answered(desk: Desk, tasks: list[asyncio.Task[Any]], seconds: float) -> list[str]:
    """Let every batch take so many seconds until none is left; return why each task was refused, "" for an answer."""
    await settled()
    while desk.batcher.running:
        await asyncio.sleep(seconds)
        desk.answer(desk.batches[-1])
        await settled()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [error.reason if isinstance(error, Overloaded) else "" for error in found]


@pytest.mark.parametrize(("max_rows", "keys"), [(100, 1), (100, 4), (8, 1), (1, 1)])
@in_virtual_time
async def test_what_waits_behind_one_long_batch_is_not_shed(max_rows: int, keys: int) -> None:
    """However long it takes, what comes meanwhile is computed, in as many batches as that needs."""
    desk = Desk(places=1, max_rows=max_rows, limits=LIMITS)
    for _ in range(20):
        assert await answered(desk, desk.send(desk.entry()), QUICK) == [""]
    desk.send(desk.entry())
    await settled()
    tasks = []
    for number in range(20):
        tasks += desk.send(desk.entry(number % keys))
        await asyncio.sleep(LONG / 20)
    assert await answered(desk, tasks, QUICK) == [""] * 20


@in_virtual_time
async def test_what_is_held_on_purpose_is_not_shed() -> None:
    """A request that waits for others of its key, beside full batches of another, is no sign of too much work."""
    desk = Desk(places=1, max_rows=4, max_delay=20 * TARGET, limits=LIMITS)
    (rare,) = desk.send(desk.entry("rare"))
    for _ in range(30):
        assert await answered(desk, desk.send(*[desk.entry() for _ in range(4)]), TARGET) == [""] * 4
    await rare


@in_virtual_time
async def test_a_queue_that_stands_sheds_who_waited_longest() -> None:
    """Batch after batch leaves late: the oldest are told at once, and what is not computed is told."""
    desk = Desk(places=1, max_rows=1, limits=LIMITS)
    reasons = await answered(desk, desk.send(*[desk.entry() for _ in range(60)]), 2 * QUICK)
    assert reasons.count("standing") == 60 - len(desk.batches)
    assert "standing" in reasons
    assert desk.is_clean()
