"""Holds the calls of fake workers, so that a test decides what waits beside what."""

from __future__ import annotations

import asyncio

from tests.gateway.fake_worker import Asked


class Gate:
    """Holds calls until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = 0

    async def __call__(self, _: Asked) -> None:
        """Wait."""
        self.waiting += 1
        try:
            await self.opened.wait()
        finally:
            self.waiting -= 1
