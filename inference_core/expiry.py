"""Tells waiting requests that their deadline has passed: one timer for all of them, late by at most a tick.

A timer for each request would cost more than the rest of its way through a queue.
Source: Varghese & Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987 (here one level, hashed by tick).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from inference_core.deadline import Deadline, now

TICK_SECONDS = 0.005
CLOCK_SECONDS = 0.001
"""uvloop's timers count whole milliseconds: one that came early would arm itself again and again until its tick."""


class Expiring(Protocol):
    """What can be late."""

    deadline: Deadline


T = TypeVar("T", bound=Expiring)


class Expiry(Generic[T]):
    """Calls `expire(item)` for every added item whose deadline passes before it is discarded."""

    def __init__(self, expire: Callable[[T], None]) -> None:
        self._expire = expire
        self._ticks: dict[float, dict[T, None]] = {}  # whole numbers, by the tick in which a deadline lies
        self._timer: asyncio.TimerHandle | None = None
        self._armed_tick = 0.0

    def __len__(self) -> int:
        return sum(len(items) for items in self._ticks.values())

    def add(self, item: T) -> None:
        """Watch an item."""
        tick = item.deadline.at // TICK_SECONDS
        items = self._ticks.get(tick)
        if items is None:
            self._ticks[tick] = {item: None}
            if self._timer is None or tick < self._armed_tick:
                self._arm(tick)
        else:
            items[item] = None

    def discard(self, item: T) -> bool:
        """Stop watching an item; return whether it was watched."""
        tick = item.deadline.at // TICK_SECONDS
        items = self._ticks.get(tick)
        if items is None or item not in items:
            return False
        del items[item]
        if not items:
            del self._ticks[tick]
        return True

    def close(self) -> None:
        """Watch nothing any more."""
        self._ticks.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, tick: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_tick = tick
        delay = max(0.0, (tick + 1) * TICK_SECONDS - now()) + CLOCK_SECONDS
        self._timer = asyncio.get_running_loop().call_later(delay, self._turn)

    def _turn(self) -> None:
        self._timer = None
        current = now() // TICK_SECONDS
        # Only ticks that are over: nothing expires before its deadline.
        for tick in sorted(tick for tick in self._ticks if tick < current):
            for item in self._ticks.pop(tick, ()):
                self._expire(item)
        if self._ticks:
            self._arm(min(self._ticks))
