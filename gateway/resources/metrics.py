"""GET /metrics: the numbers of all processes of this machine, for Prometheus."""

from __future__ import annotations

import asyncio
from pathlib import Path

from falcon.asgi import Request, Response

from otel.metrics import CONTENT_TYPE, page


class MetricsResource:
    """One page, whichever gateway process is asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def on_get(self, _: Request, response: Response) -> None:
        """Answer with the text format."""
        response.content_type = CONTENT_TYPE
        # In a thread: it reads the files of every process.
        response.data = await asyncio.to_thread(page, self._folder)

    on_head = on_get
