"""Memory that was freed and that the C library keeps for later."""

from __future__ import annotations

import asyncio
import ctypes

from inference_core.deadline import now

PAUSE_SECONDS = 0.02
PAUSE_TIMES = 20
"""How many times as long as it took memory is left alone after it was given back: a twentieth of the loop's time."""

LAST_SECONDS = 1.0


def give_back() -> None:
    """Hand freed memory back to the system, with glibc (malloc_trim(3)); elsewhere do nothing.

    It takes a millisecond for every ten megabytes that are given back, and up to twenty where the heap has many holes.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return  # not glibc
    trim(0)


class Returns:
    """Gives memory back after something large: at once, though seldom, and once more when no more of it has come."""

    def __init__(self) -> None:
        self._rests_until = 0.0
        self._is_more = False
        self._timer: asyncio.TimerHandle | None = None

    def note(self) -> None:
        """Note that something large was freed."""
        self._is_more = True
        began = now()
        if began >= self._rests_until:
            give_back()
            ended = now()
            self._rests_until = ended + max(PAUSE_SECONDS, PAUSE_TIMES * (ended - began))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LAST_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._is_more:
            self._is_more = False
            give_back()
            self._timer = asyncio.get_running_loop().call_later(LAST_SECONDS, self._look)
