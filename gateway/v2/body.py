"""Reads a V2 request's body into one buffer, unpacks it where it is compressed, and packs answers.

The body is held once: with a Content-Length it is written where it will stay. Of a compressed one never more than
`max_body_bytes` are unpacked. Sources: RFC 9110 section 8.4 (gzip, deflate as zlib), section 12.5.3.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from typing import Protocol

import numpy as np
from falcon.asgi import Request

from inference_core.errors import InputTooLarge, InvalidInput, SlowInput, UnsupportedInput
from inference_core.settings import Gateway

GZIP_WINDOW, ZLIB_WINDOW = 31, 15
WINDOWS = {"gzip": GZIP_WINDOW, "x-gzip": GZIP_WINDOW, "deflate": ZLIB_WINDOW}
FIRST_BYTES = 64 * 1024
LEAST_PACKED_BYTES = 1024
LEVEL = 1
MOST_MEMBERS = 64
CODING = re.compile(r"\s*([a-z*-]+)\s*(?:;\s*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?", re.IGNORECASE)


class Sink(Protocol):
    """Where the pieces of a body go."""

    def add(self, piece: bytes) -> None:
        """Take a piece."""

    def end(self) -> memoryview:
        """Return the whole."""


class Whole:
    """One growing buffer of at most `limit` bytes."""

    def __init__(self, limit: int, expected: int) -> None:
        self._limit = limit
        # Not a bytearray: that would write zeros, and so take the memory, before the first byte has come.
        self._buffer = np.empty(min(expected, limit), np.uint8).data
        self._size = 0

    def room(self) -> int:
        """Return how many bytes more are taken."""
        return self._limit - self._size

    def add(self, piece: bytes) -> None:
        """As `Sink.add`; raises InputTooLarge."""
        end = self._size + len(piece)
        if end > self._limit:
            raise too_large(self._limit)
        if end > len(self._buffer):
            grown = np.empty(min(self._limit, 2 * end), np.uint8).data
            grown[: self._size] = self._buffer[: self._size]
            self._buffer = grown
        self._buffer[self._size : end] = piece
        self._size = end

    def end(self) -> memoryview:
        """As `Sink.end`."""
        return self._buffer[: self._size].toreadonly()


class Unpacked:
    """Unpacks what comes into a Whole; gzip may have several members (RFC 1952), up to MOST_MEMBERS."""

    def __init__(self, window: int, whole: Whole) -> None:
        self._window = window
        self._whole = whole
        self._stream = zlib.decompressobj(window)
        self._members = 1

    def add(self, piece: bytes) -> None:
        """As `Sink.add`; raises InputTooLarge before more than the limit is unpacked, InvalidInput for bad data."""
        try:
            while piece:
                if self._stream.eof:
                    self._next_member()
                self._whole.add(self._stream.decompress(piece, self._whole.room() + 1))
                piece = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        except zlib.error as error:
            raise InvalidInput("The body is not compressed as its Content-Encoding says.") from error

    def _next_member(self) -> None:
        if self._window != GZIP_WINDOW:
            raise InvalidInput("Bytes follow the end of the compressed body; send one body.")
        if self._members == MOST_MEMBERS:
            # Each one costs a new stream, and empty ones have 20 bytes.
            raise InvalidInput(f"The compressed body has more than {MOST_MEMBERS} gzip members; compress it as one.")
        self._members += 1
        self._stream = zlib.decompressobj(self._window)

    def end(self) -> memoryview:
        """As `Sink.end`; raises InvalidInput where the end is missing."""
        if not self._stream.eof:
            raise InvalidInput("The compressed body ends before its data does; send all of it.")
        return self._whole.end()


async def read_body(request: Request, settings: Gateway) -> memoryview:
    """Return the body, unpacked; whatever its Content-Type, for V2 clients may send none.

    Raises UnsupportedInput for another Content-Encoding than gzip, deflate and identity, InputTooLarge as soon as the
    declared, received or unpacked length passes `max_body_bytes`, SlowInput after `body_deadline` seconds.
    """
    sink = _sink(request, settings.max_body_bytes)
    try:
        async with asyncio.timeout(settings.body_deadline):
            async for piece in request.stream:
                sink.add(piece)
    except TimeoutError as error:
        raise SlowInput(f"The body did not arrive within {settings.body_deadline:g} s; send it faster.") from error
    return sink.end()


def too_large(limit: int) -> InputTooLarge:
    """Return the error for a body beyond the limit."""
    return InputTooLarge(f"The body is larger than {limit} bytes (gateway.max_body_bytes); send fewer rows.")


def _sink(request: Request, limit: int) -> Sink:
    length = request.content_length
    if (length or 0) > limit:
        raise too_large(limit)
    encoding = (request.get_header("Content-Encoding") or "identity").strip().lower()
    if encoding == "identity" or length == 0:
        return Whole(limit, FIRST_BYTES if length is None else length)
    if encoding not in WINDOWS:
        raise UnsupportedInput("Content-Encoding is gzip, deflate or identity here; send the body as one of these.")
    return Unpacked(WINDOWS[encoding], Whole(limit, max(FIRST_BYTES, length or 0)))


def accepted_coding(header: str | None) -> str:
    """Return the coding in which an answer goes to a client that sent this Accept-Encoding: gzip, deflate or ""."""
    weights = {}
    for item in (header or "").split(","):
        match = CODING.fullmatch(item)
        if match is not None:
            weights[match[1].lower()] = float(match[2] or 1)
    others = weights.get("*", 0.0)
    best = max(("gzip", "deflate"), key=lambda coding: weights.get(coding, others))
    return best if weights.get(best, others) > weights.get("identity", 0.0) else ""


def packed(parts: list[bytes | memoryview], coding: str) -> list[bytes | memoryview]:
    """Return an answer's parts compressed; takes a while for large ones, without the interpreter lock."""
    stream = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOWS[coding])
    return [*[stream.compress(part) for part in parts], stream.flush()]
