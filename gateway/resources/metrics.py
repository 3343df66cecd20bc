"""GET /metrics: the numbers of every process of this machine, in Prometheus' text format."""

from __future__ import annotations

import asyncio
from pathlib import Path

from falcon.asgi import Request, Response

from gateway.tally import Tally
from otel.metrics import CONTENT_TYPE, page


class MetricsResource:
    """One page for the whole machine, whichever gateway process answers; empty where nothing is shared (unit tests)."""

    def __init__(self, folder: Path, tally: Tally) -> None:
        self._folder = folder
        self._tally = tally

    async def on_get(self, _: Request, response: Response) -> None:
        """Answer with the page; the other processes' numbers are at most half a second old."""
        self._tally.flush()
        response.content_type = CONTENT_TYPE
        response.data = await asyncio.to_thread(page, self._folder)
