"""Tells listeners once a second what this machine does; reads everybody's metrics only while somebody listens."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog

from gateway.moments import Moment, moment
from inference_core.errors import Unavailable
from otel.scrape import Scrape, take

EVERY_SECONDS = 1.0
WINDOW = 10
MOST_LISTENERS = 16
MOST_MOMENTS = 600
"""For one listener, which then comes again: what is lost without a word does not stay counted for ever."""

FULL = f"{MOST_LISTENERS} listeners are connected to this gateway process; close another page of the console."
LEAVING = "This gateway process is leaving; ask again, and another one answers."

log = structlog.get_logger()


class Live:
    """One process's readings and listeners; `flush` brings what the process itself has counted up to date."""

    def __init__(self, folder: Path, flush: Callable[[], None], every: float = EVERY_SECONDS) -> None:
        self._folder = folder
        self._flush = flush
        self._every = every
        self._history: deque[Scrape] = deque(maxlen=WINDOW + 1)
        self._news: asyncio.Future[Moment] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._is_leaving = False
        self.listeners = 0

    def check(self) -> None:
        """Raise Unavailable where there is no place for another listener."""
        if self._is_leaving:
            raise Unavailable(LEAVING)
        if self.listeners >= MOST_LISTENERS:
            raise Unavailable(FULL)

    async def moments(self) -> AsyncIterator[Moment]:
        """Yield what happens until the process leaves, at most MOST_MOMENTS times; call it inside the running loop."""
        self.check()
        self.listeners += 1
        try:
            for _ in range(MOST_MOMENTS):
                try:
                    told = await asyncio.shield(self._next())
                except asyncio.CancelledError:
                    if not self._is_leaving:
                        raise
                    return
                yield told
        finally:
            self.listeners -= 1

    def leave(self) -> None:
        """End every listener's stream, so that nobody keeps the process from ending."""
        self._is_leaving = True
        if self._reader is not None:
            self._reader.cancel()
        if self._news is not None:
            self._news.cancel()

    def _next(self) -> asyncio.Future[Moment]:
        loop = asyncio.get_running_loop()
        if self._news is None or self._news.done():
            self._news = loop.create_future()
            if self._is_leaving:
                self._news.cancel()
        if self._reader is None or self._reader.done():
            self._reader = loop.create_task(self._read())
        return self._news

    async def _read(self) -> None:
        while self.listeners and not self._is_leaving:
            try:
                told = await self._reading()
            except Exception:  # a file that vanished or is half written; the next reading finds it whole
                log.exception("metrics not read")
            else:
                if self._news is not None and not self._news.done():
                    self._news.set_result(told)
            await asyncio.sleep(self._every)

    async def _reading(self) -> Moment:
        self._flush()
        return await asyncio.to_thread(self._taken)

    def _taken(self) -> Moment:
        scrape = take(self._folder)
        while self._history and scrape.at - self._history[0].at > (WINDOW + 2) * self._every:
            self._history.popleft()
        self._history.append(scrape)
        return moment(self._history)
