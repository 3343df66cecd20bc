"""What the HTTP border and whatever answers a whole request without ASGI have to agree on.

gunicorn's arbiter imports the border before it forks, so nothing here may import gRPC or tracing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec


class Fields(dict[bytes, bytes]):
    """A header section in which no field is repeated.

    `read` is what its route made of it, for clients repeat their heads and a head that came before is this same object.
    """

    __slots__ = ("read",)

    def __init__(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        super().__init__(fields)
        self.read: object = None


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer with a JSON body; `retry_after` in whole seconds, 0 for none; `fields` more lines of its head."""

    status: int
    body: bytes
    request_id: str
    trace_id: str
    retry_after: int = 0
    fields: bytes = b""


class Work(Protocol):
    """A request that is being answered."""

    def leave(self) -> None:
        """End the work for a client that has left; there will be no reply."""


class DirectRoute(Protocol):
    """What answers whole requests to one target."""

    def __call__(self, fields: Fields, body: bytes, reply: Callable[[Reply], None], /) -> Work:
        """Begin to answer a request; `reply` is called once, unless the client leaves before."""

    def turn_away(self, fields: Fields, body: bytes, /) -> Reply | None:
        """Answer a request that is not worth beginning, or return None."""


DirectRoutes = Mapping[bytes, DirectRoute]
"""What answers a POST of JSON, by the request's target."""

DIRECT_ROUTES = "direct_routes"
"""The key under which the lifespan's state has them for the HTTP protocol."""

LEAVING = "leaving"
"""The key under which it has what is to be called when the process was told to end, before open requests have ended."""
