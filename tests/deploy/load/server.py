"""An HTTP server whose answers a test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 17\r\n\r\n{"error": "full"}'
Behaviour = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(behaviour: Behaviour) -> AsyncIterator[int]:
    """Run `behaviour(number, writer)` for each request that arrives, counted from 0; yield the port."""
    count = iter(range(1_000_000))
    writers = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while (await reader.readuntil(b"\r\n\r\n")) and not writer.is_closing():
                await behaviour(next(count), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for writer in writers:
            writer.close()


async def answer(_: int, writer: asyncio.StreamWriter) -> None:
    """Answer 200."""
    writer.write(OK)


async def refuse(_: int, writer: asyncio.StreamWriter) -> None:
    """Answer 503."""
    writer.write(BUSY)


async def say_nothing(_: int, __: asyncio.StreamWriter) -> None:
    """Never answer."""


async def hang_up(_: int, writer: asyncio.StreamWriter) -> None:
    """Close instead of answering."""
    writer.close()


async def break_off(_: int, writer: asyncio.StreamWriter) -> None:
    """Close inside the answer."""
    writer.write(OK[:-1])
    writer.close()


async def babble(_: int, writer: asyncio.StreamWriter) -> None:
    """Answer with what is no HTTP."""
    writer.write(b"\x00\x01 nonsense\r\n\r\n")
