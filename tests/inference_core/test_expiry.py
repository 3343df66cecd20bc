"""Deadlines of many, one timer."""

from __future__ import annotations

import asyncio
import random

import uvloop

from inference_core.deadline import Deadline
from inference_core.expiry import CLOCK_SECONDS, TICK_SECONDS, Expiry
from tests.virtual_time import CLOCK_STEP, in_virtual_time


class Item:
    """Something with a deadline."""

    def __init__(self, seconds: float) -> None:
        self.deadline = Deadline.after(seconds)


class Watch(Expiry[Item]):
    """Notes when each item expired, and how often the timer went off."""

    def __init__(self) -> None:
        super().__init__(self._note)
        self.late: list[tuple[Item, float]] = []
        self.turns = 0
        self.all_late = asyncio.Event()

    def _note(self, item: Item) -> None:
        self.late.append((item, asyncio.get_running_loop().time()))
        if not len(self):
            self.all_late.set()

    def _turn(self) -> None:
        self.turns += 1
        super()._turn()


@in_virtual_time
async def test_each_expires_at_its_deadline_late_by_at_most_a_tick() -> None:
    """Nobody expires early, nobody later than a tick and a millisecond, whatever the order in which they came."""
    watch = Watch()
    seconds = [number * 0.0007 for number in range(1, 400)]
    random.Random(1).shuffle(seconds)  # noqa: S311  # an order, not a secret
    for each in seconds:
        watch.add(Item(each))
    assert len(watch) == len(seconds)
    await asyncio.sleep(1)
    delays = [time - item.deadline.at for item, time in watch.late]
    assert len(delays) == len(seconds)
    assert min(delays) >= 0
    assert max(delays) <= TICK_SECONDS + CLOCK_SECONDS + 4 * CLOCK_STEP
    assert len(watch) == 0


@in_virtual_time
async def test_what_is_discarded_never_expires() -> None:
    """Discarding tells whether the item was watched, once."""
    watch = Watch()
    items = [Item(0.1), Item(0.1), Item(0.2)]
    for item in items:
        watch.add(item)
    assert [watch.discard(items[0]), watch.discard(items[0]), watch.discard(items[2])] == [True, False, True]
    await asyncio.sleep(1)
    assert [item for item, _ in watch.late] == items[1:2]
    assert watch.discard(items[1]) is False


@in_virtual_time
async def test_an_earlier_deadline_moves_the_timer() -> None:
    """One that comes later and is due sooner is told in time."""
    watch = Watch()
    watch.add(Item(100.0))
    watch.add(Item(0.1))
    await asyncio.sleep(0.2)
    assert len(watch.late) == 1


@in_virtual_time
async def test_nothing_expires_after_close() -> None:
    """Close forgets all."""
    watch = Watch()
    watch.add(Item(0.1))
    watch.close()
    await asyncio.sleep(1)
    assert (watch.late, len(watch)) == ([], 0)


def test_the_timer_goes_off_once_for_a_tick() -> None:
    """Also on uvloop, whose timers count whole milliseconds, no tick is waited for in a circle."""

    async def expire_some() -> int:
        watch = Watch()
        for number in range(20):
            watch.add(Item(0.0103 * (number + 1)))
        await asyncio.wait_for(watch.all_late.wait(), 10)
        return watch.turns

    assert uvloop.run(expire_some()) <= 30
