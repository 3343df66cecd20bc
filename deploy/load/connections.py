"""The generator's connections: opened ahead, reused last in first out, grown on demand up to a limit."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from deploy.load.connection import IDLE, Connection
from deploy.load.plan import Plan
from deploy.load.records import CLOSED, CUT, GARBLED, REFUSED

Send = Callable[[int, Connection], None]
End = Callable[[int, int, bytes], None]


class Connections:
    """Hands each request to a free connection, or lets it wait for one.

    `send` puts a request on a connection; `end` takes a request's status, negative where its transport failed, and
    the last bytes of its answer.
    """

    def __init__(self, plan: Plan, send: Send, end: End) -> None:
        self._plan = plan
        self._send = send
        self._end = end
        self._idle: dict[Connection, None] = {}
        self._all: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[int] = deque()
        self._abandoned: set[int] = set()
        self._carrier: dict[int, Connection] = {}
        self.most = 0

    async def open_ahead(self, count: int) -> None:
        """Open that many connections; raises OSError where the server takes none."""
        loop = asyncio.get_running_loop()
        for _ in range(min(count, self._plan.most_connections)):
            await loop.create_connection(lambda: Connection(self), self._plan.host, self._plan.port)

    def submit(self, request: int) -> None:
        """Send a request now, or as soon as a connection is free."""
        connection = self._free()
        if connection is not None:
            self._carry(request, connection)
            return
        self._waiting.append(request)
        under_way = len(self._opening)
        if under_way < len(self._waiting) and len(self._all) + under_way < self._plan.most_connections:
            task = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def abandon(self, request: int) -> bool:
        """Give a request up, closing the connection that carries it; tell whether it had been sent."""
        connection = self._carrier.pop(request, None)
        if connection is None:
            self._abandoned.add(request)
            return False
        connection.abort()
        return True

    def close(self) -> None:
        """Close all of them."""
        for connection in list(self._all):
            connection.abort()
        for task in list(self._opening):
            task.cancel()

    def opened(self, connection: Connection) -> None:
        """As Owner."""
        self._all.add(connection)
        self.most = max(self.most, len(self._all))
        self._release(connection)

    def answered(self, connection: Connection, request: int, status: int, *, keep: bool) -> None:
        """As Owner."""
        self._carrier.pop(request, None)
        if keep:
            self._release(connection)
        else:
            connection.abort()
        self._end(request, status, connection.answer)

    def lost(self, connection: Connection, request: int) -> None:
        """As Owner."""
        self._all.discard(connection)
        self._idle.pop(connection, None)
        if request != IDLE:
            self._carrier.pop(request, None)
            broken = CUT if connection.began_answer else CLOSED
            self._end(request, GARBLED if connection.garbled else broken, b"")
        self._refill()

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: Connection(self), self._plan.host, self._plan.port)
        except OSError:
            request = self._next_waiting()
            if request is not None:
                self._end(request, REFUSED, b"")

    def _refill(self) -> None:
        request = self._next_waiting()
        if request is not None:
            self.submit(request)

    def _free(self) -> Connection | None:
        if not self._idle:
            return None
        connection, _ = self._idle.popitem()
        if connection.is_open() and time.monotonic() - connection.idle_since < self._plan.longest_idle:
            return connection
        for stale in (connection, *self._idle):  # those below it have been idle for longer
            stale.abort()
        self._idle.clear()
        return None

    def _release(self, connection: Connection) -> None:
        request = self._next_waiting()
        if request is not None:
            self._carry(request, connection)
        else:
            connection.idle_since = time.monotonic()
            self._idle[connection] = None

    def _next_waiting(self) -> int | None:
        while self._waiting:
            request = self._waiting.popleft()
            if request not in self._abandoned:
                return request
            self._abandoned.discard(request)
        return None

    def _carry(self, request: int, connection: Connection) -> None:
        self._carrier[request] = connection
        self._send(request, connection)
