"""The worker's end of the hop with one method, and gRPC's own client of it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from model_service.hop import HopServer

PATH = "/some.Service/Method"
MOST = 8 * 1024 * 1024
SECONDS = 10.0
Handler = Callable[[bytes, Any], Awaitable[bytes]]


async def echo(request: bytes, _: Any) -> bytes:
    """Answer with what was asked."""
    return bytes(request)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[tuple[Path, HopServer]]:
    """Serve one method."""
    server = HopServer(PATH, MOST)
    server.add_registered_method_handlers("some.Service", {"Method": grpc.unary_unary_rpc_method_handler(handler)})
    with tempfile.TemporaryDirectory(prefix="hop-") as folder:
        await server.open(Path(folder) / "s")
        try:
            yield Path(folder) / "s", server
        finally:
            await server.stop(0)


@asynccontextmanager
async def client(socket: Path) -> AsyncIterator[Any]:
    """Return gRPC's own call of the method."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"unix:{socket}", options) as channel:
        yield channel.unary_unary(PATH)
