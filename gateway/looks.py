"""When a worker is asked again which models it has: regularly, and soon for one that it has not told of."""

from __future__ import annotations

import asyncio
from contextlib import suppress

SOONEST_SECONDS = 0.2
"""Between two looks, however many ask: a model may have been dropped in just now, or never be there."""


class Looks:
    """The times of one worker."""

    def __init__(self) -> None:
        self._wanted = asyncio.Event()

    def hurry(self) -> None:
        """Look as soon as may be: somebody asked for what nobody knows."""
        self._wanted.set()

    async def next(self, longest: float) -> None:
        """Wait for the next look, at most so many seconds."""
        soonest = min(SOONEST_SECONDS, longest)
        await asyncio.sleep(soonest)
        with suppress(TimeoutError):
            async with asyncio.timeout(longest - soonest):
                await self._wanted.wait()
        self._wanted.clear()
