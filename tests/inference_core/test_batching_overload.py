"""What a Batcher answers at once under overload, and what it does not take for one."""

from __future__ import annotations

import asyncio

from inference_core.admission import Limits
from inference_core.errors import Overloaded
from tests.inference_core.desk import Desk, settled
from tests.virtual_time import in_virtual_time

TARGET = 0.05
LIMITS = Limits(1000, 1 << 20, TARGET, sheds=True)


@in_virtual_time
async def test_what_waits_behind_one_long_batch_is_not_shed() -> None:
    """However long it takes and whatever comes meanwhile: nobody left the queue, so it does not stand."""
    desk = Desk(places=1, max_rows=100, limits=LIMITS)
    desk.send(desk.entry())
    await settled()
    tasks = []
    for _ in range(20):
        tasks += desk.send(desk.entry())
        await asyncio.sleep(2 * TARGET)
    desk.answer(desk.batches[0])
    await settled()
    assert len(desk.batches[1].entries) == len(tasks)
    desk.answer(desk.batches[1])
    await asyncio.gather(*tasks)


@in_virtual_time
async def test_a_queue_that_stands_sheds_who_waited_longest() -> None:
    """Batch after batch leaves late: the oldest are told at once, the newest computed, all places given back."""
    desk = Desk(places=1, max_rows=1, limits=LIMITS)
    tasks = desk.send(*[desk.entry() for _ in range(60)])
    await settled()
    while desk.batcher.running:
        await asyncio.sleep(TARGET / 5)
        desk.answer(desk.batches[-1])
        await settled()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    shed = [error.reason for error in found if isinstance(error, Overloaded)]
    assert shed == ["standing"] * (60 - len(desk.batches))
    assert shed
    assert desk.is_clean()
