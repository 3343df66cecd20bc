"""GET /console/api/live: what this machine does, once a second, as server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
from falcon.asgi import Request, Response, SSEvent

from gateway.live import Live
from gateway.replies import LEAVING
from gateway.resources.console_answer import protect

AGAIN_MILLISECONDS = 2_000


class LiveResource:
    """A stream that ends when the listener or the process leaves; browsers come again by themselves."""

    def __init__(self, live: Live) -> None:
        self._live = live

    async def on_get(self, _: Request, response: Response) -> None:
        """Begin the stream; raises Unavailable where there is no place for another listener."""
        self._live.check()
        protect(response)
        response.sse = self._events()

    async def _events(self) -> AsyncIterator[SSEvent]:
        async for moment in self._live.moments():
            yield SSEvent(data=msgspec.json.encode(moment), retry=AGAIN_MILLISECONDS)


class LiveLife:
    """Ends the streams when the process begins to leave; otherwise it would wait for its listeners."""

    def __init__(self, live: Live) -> None:
        self._live = live

    async def process_startup(self, scope: Mapping[str, Any], _: Mapping[str, Any]) -> None:
        """Leave together with whatever else leaves early; to be called after it is known."""
        state = scope.get("state", {})
        others: Callable[[], object] | None = state.get(LEAVING)

        def leave() -> None:
            self._live.leave()
            if others is not None:
                others()

        state[LEAVING] = leave

    async def process_shutdown(self, _: Mapping[str, Any], __: Mapping[str, Any]) -> None:
        """End what is left, under a server that announces nothing."""
        self._live.leave()
