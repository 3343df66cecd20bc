"""One kept-alive connection of the generator: a request out, a status in."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

IDLE = -1


class Owner(Protocol):
    """Who is told what happens on a connection."""

    def opened(self, connection: Connection) -> None:
        """Take a connection that can send."""

    def answered(self, connection: Connection, request: int, status: int, *, keep: bool) -> None:
        """Take the status of a request; `keep` tells whether the connection may send again."""

    def lost(self, connection: Connection, request: int) -> None:
        """Take the end of a connection, with the request that it still carried, or IDLE."""


class Connection(asyncio.Protocol):
    """Carries one request at a time, which `request` numbers.

    Defines no callback of the parser beyond the end of a message, because each one costs time for every request.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self.request = IDLE
        self.idle_since = 0.0
        self.began_answer = False
        self.garbled = False
        self.answer = b""

    def send(self, request: int, data: bytes) -> None:
        """Send a request."""
        self.request = request
        self.began_answer = False
        self._transport.write(data)

    def is_open(self) -> bool:
        """Tell whether a request can be sent."""
        return not self._transport.is_closing()

    def abort(self) -> None:
        """Close at once; nothing more is reported for the request."""
        self.request = IDLE
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """As asyncio.Protocol."""
        self.began_answer = True
        self.answer = data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.garbled = True
            self._transport.abort()

    def on_message_complete(self) -> None:
        """As httptools: an answer is whole."""
        request, self.request = self.request, IDLE
        if request == IDLE:
            self._transport.abort()  # an answer that nobody asked for, such as a 408 for silence
        else:
            keep = self._parser.should_keep_alive()
            self._owner.answered(self, request, self._parser.get_status_code(), keep=keep)

    def connection_lost(self, _: Exception | None) -> None:
        """As asyncio.Protocol."""
        request, self.request = self.request, IDLE
        self._owner.lost(self, request)
