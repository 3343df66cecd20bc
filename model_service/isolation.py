"""Runs a suspected input while nothing else runs, with a note of it for those who find the worker dead.

A gateway that lost a request with two workers sends it alone. Other gateways and clients know nothing of that, so this
worker holds their calls back meanwhile: if it dies now, it was of that input, and of no other. The note says of which.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from inference_core import death_note

FINGERPRINT = re.compile(r"[0-9a-f]{32}")


class Isolation:
    """Lets many ordinary calls run at once, or one suspected."""

    def __init__(self, note: Path) -> None:
        self._note = note
        self._ordinary = 0
        self._turn = asyncio.Lock()
        self._open = asyncio.Event()
        self._open.set()
        self._empty = asyncio.Event()
        note.unlink(missing_ok=True)

    @property
    def is_open(self) -> bool:
        """Whether an ordinary call may begin now."""
        return self._open.is_set()

    async def wait_open(self) -> None:
        """Wait until ordinary calls may begin."""
        while not self._open.is_set():
            await self._open.wait()

    def begin(self) -> None:
        """Note that an ordinary call runs."""
        self._ordinary += 1

    def end(self) -> None:
        """Note that it has ended."""
        self._ordinary -= 1
        if not self._ordinary:
            self._empty.set()

    @asynccontextmanager
    async def alone(self, fingerprint: str) -> AsyncIterator[None]:
        """Hold this worker for one input, given by its fingerprint, once all running calls have ended."""
        async with self._turn:
            self._open.clear()
            try:
                while self._ordinary:
                    self._empty.clear()
                    await self._empty.wait()
                death_note.write(self._note, fingerprint)
                yield
            finally:
                self._note.unlink(missing_ok=True)
                self._open.set()
            # Before the next one of its kind, so that these never keep the ordinary ones out for long.
            await asyncio.sleep(0)
