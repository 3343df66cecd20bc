"""A connection that a test can cut."""

from __future__ import annotations

import asyncio
from pathlib import Path


class Line:
    """A Unix socket that passes bytes on to another one until it is cut, as the death of a worker cuts it."""

    def __init__(self, front: Path, back: Path) -> None:
        self.front = front
        self._back = back
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Take connections, also again after a cut."""
        self.front.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._passing, self.front)

    def cut(self, *, for_good: bool = True) -> None:
        """End all connections at once; take no new ones if `for_good`."""
        if for_good and self._server is not None:
            self._server.close()
            self.front.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Cut, and wait until everything has ended."""
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _passing(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(self._back)
            try:
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
            finally:
                far_writer.transport.abort()
        except (asyncio.CancelledError, OSError):
            pass  # cut, which is what a line is for
        finally:
            writer.transport.abort()
            self._tasks.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError("the other end has closed")
