"""A connection that a test can cut."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path


class Line:
    """Unix sockets that pass bytes on to others until they are cut, as the death of a worker cuts them all."""

    def __init__(self, back_of: Mapping[Path, Path]) -> None:
        self._back_of = back_of
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    async def open(self) -> None:
        """Take connections, also again after a cut."""
        for front, back in self._back_of.items():
            front.unlink(missing_ok=True)
            self._servers.append(await asyncio.start_unix_server(partial(self._passing, back), front))

    def cut(self, *, for_good: bool = True) -> None:
        """End all connections at once; take no new ones if `for_good`."""
        if for_good:
            for server, front in zip(self._servers, self._back_of, strict=False):
                server.close()
                front.unlink(missing_ok=True)
            self._servers.clear()
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Cut, and wait until everything has ended."""
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _passing(self, back: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(back)
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
