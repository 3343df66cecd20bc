"""One request and its response, and the few places where uvicorn's own version of that is too trusting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from uvicorn._types import ASGI3Application, ASGISendEvent
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.door import Door


class HoldableFlow(FlowControl):
    """Flow control whose reading can be held back, whatever an application's `receive` asks for.

    Without it a client could pipeline requests without end while its first one runs.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self.held = False

    def hold_reading(self) -> None:
        """Stop reading until `release_reading`."""
        self.held = True
        self.pause_reading()

    def release_reading(self) -> None:
        """Read again."""
        self.held = False
        self.resume_reading()

    def resume_reading(self) -> None:
        """Read again, unless reading is held."""
        if not self.held:
            super().resume_reading()


class Line:
    """What a response needs of the transport; `close` ends the connection the gentle way of our protocol."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close

    def as_transport(self) -> asyncio.Transport:
        """Return this line for a parameter typed as a transport, of which only these three methods are called."""
        return cast("asyncio.Transport", self)


class Exchange(RequestResponseCycle):
    """A request with its response, which ends the connection if it starts before the request was read to its end.

    What follows an unread body on the connection is of the client's making and is never read as a request.
    """

    def send(self, message: ASGISendEvent) -> Awaitable[None]:  # type: ignore[override]  # hands out the same coroutine
        """Send one ASGI event, as uvicorn does."""
        if self.more_body and not self.response_started:
            self.keep_alive = False
        return super().send(message)

    on_leave: Callable[[], object] | None = None

    def __init__(self, *, door: Door, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._door = door
        self._held = 0

    def hold(self, size: int) -> None:
        """Count that many more bytes of body as held by this process."""
        self._held += size
        self._door.bytes += size

    def drop(self) -> None:
        """Count the body out."""
        self._door.bytes -= self._held
        self._held = 0

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Run the application, as uvicorn does; afterwards nothing of the body is held."""
        try:
            await super().run_asgi(app)
        finally:
            self.drop()

    def is_over(self) -> bool:
        """Tell whether nothing more will be sent."""
        return self.response_complete or self.disconnected

    def abandon(self) -> None:
        """Let the application see `http.disconnect`, end what it awaits, and drop whatever it still sends."""
        self.disconnected = True
        self.message_event.set()
        if self.on_leave is not None:
            self.on_leave()
