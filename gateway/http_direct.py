"""A request that arrived whole and its answer, without an ASGI application between them.

Building a scope, an application's task with two events each way, and the response from a list of fields costs several
times what the parser and the prediction's own code do (docs/decisions/0007-direct-predictions.md has the figures).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus

import msgspec

from gateway.http_refusal import Field
from gateway.replies import DirectRoute, DirectRoutes, Fields, Reply, Work

MOST_BYTES = 64 * 1024
BEGINNINGS = 32
SPECIAL = frozenset((b"content-encoding", b"expect", b"origin", b"sec-fetch-site", b"transfer-encoding", b"upgrade"))
STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Pending(msgspec.Struct):
    """A request whose header section allows a direct answer, while its body arrives.

    `keeps_alive` is known once it is whole: its client may send others on the connection.
    """

    route: DirectRoute
    fields: Fields
    body: bytes = b""
    keeps_alive: bool = True


def pending(
    routes: DirectRoutes, url: bytes, headers: list[tuple[bytes, bytes]], is_served: Callable[[bytes], bool]
) -> Pending | None:
    """Return a POST of HTTP/1.1 as a candidate for a direct answer, or None where anything about it is unusual.

    What is let through here needs none of the checks of `http_head`: its target is a route letter by letter, no field
    is repeated or special, and `is_served` knows its host.
    """
    route = routes.get(url)
    if route is None:
        return None
    fields = Fields(headers)
    if len(fields) != len(headers) or not SPECIAL.isdisjoint(fields):
        return None
    length, host = fields.get(b"content-length"), fields.get(b"host")
    if length is None or host is None or fields.get(b"content-type") != b"application/json":
        return None
    return Pending(route, fields) if 0 < int(length) <= MOST_BYTES and is_served(host) else None


class DirectExchange:
    """One such request under way; it has what a connection asks of an Exchange."""

    __slots__ = (
        "_default_fields",
        "_work",
        "disconnected",
        "keep_alive",
        "on_response",
        "pending",
        "response_started",
        "transport",
    )

    more_body = False

    def __init__(
        self, pending: Pending, transport: asyncio.Transport, on_response: Callable[[], None], *, keep_alive: bool
    ) -> None:
        self.pending = pending
        self.transport = transport
        self.on_response = on_response
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_started = False
        self._work: Work | None = None
        self._default_fields: list[tuple[bytes, bytes]] = []

    @property
    def response_complete(self) -> bool:
        """Whether the answer was written; it goes out whole."""
        return self.response_started

    def is_over(self) -> bool:
        """Tell whether nothing more will be sent."""
        return self.response_started or self.disconnected

    def abandon(self) -> None:
        """End the work for a client that has left."""
        self.disconnected = True
        work, self._work = self._work, None
        if work is not None:
            work.leave()

    def drop(self) -> None:
        """Note that it will never begin."""

    def begin(self, default_fields: list[tuple[bytes, bytes]]) -> None:
        """Have the request answered."""
        self._default_fields = default_fields
        self._work = self.pending.route(self.pending.fields, self.pending.body, self._write)

    def _write(self, reply: Reply) -> None:
        if self.disconnected:
            return
        self.response_started = True
        self._work = None
        self.transport.write(rendered(reply, self._default_fields, keep_alive=self.keep_alive))
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def rendered(reply: Reply, default_fields: list[tuple[bytes, bytes]], *, keep_alive: bool) -> bytes:
    """Return the bytes of a response."""
    return b"%bcontent-length: %d\r\nx-request-id: %b\r\nx-trace-id: %b\r\n%b\r\n%b" % (
        _beginning(reply.status, reply.retry_after, tuple(default_fields), keep_alive=keep_alive),
        len(reply.body),
        reply.request_id.encode("ascii"),
        reply.trace_id.encode("ascii"),
        reply.fields,
        reply.body,
    )


@lru_cache(maxsize=BEGINNINGS)
def _beginning(status: int, retry_after: int, default_fields: tuple[Field, ...], *, keep_alive: bool) -> bytes:
    date = b"".join([b"%b: %b\r\n" % field for field in default_fields])
    retry = b"retry-after: %d\r\n" % retry_after if retry_after else b""
    close = b"" if keep_alive else b"connection: close\r\n"
    return STATUS_LINES[status] + date + retry + close + b"content-type: application/json\r\n"
