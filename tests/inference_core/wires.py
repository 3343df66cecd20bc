"""Two ends of an HTTP/2 connection without a socket: what one writes, the other gets, cut anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from inference_core.http2 import Connection
from inference_core.tensors import Buffer


@dataclass
class Transport:
    """Keeps what is written until it is taken."""

    written: list[bytes] = field(default_factory=list)
    closed: bool = False

    def write(self, data: Buffer) -> None:
        """As `asyncio.WriteTransport.write`."""
        self.written.append(bytes(data))

    def writelines(self, parts: Iterable[Buffer]) -> None:
        """As `asyncio.WriteTransport.writelines`."""
        self.written += [bytes(part) for part in parts]

    def close(self) -> None:
        """As `asyncio.BaseTransport.close`."""
        self.closed = True

    def take(self) -> bytes:
        """Return what was written since."""
        taken, self.written = b"".join(self.written), []
        return taken


@dataclass
class Stream:
    """What an end has got of a stream."""

    blocks: list[bytes] = field(default_factory=list)
    body: bytes = b""
    pieces: int = 0
    ended: bool = False


class End(Connection):
    """An end that notes what it gets."""

    def __init__(self) -> None:
        super().__init__(100)
        self.wire = Transport()
        self.streams: dict[int, Stream] = {}
        self.reset_streams: list[tuple[int, int]] = []
        self.last_streams: list[int] = []
        self.expected: set[int] = set()
        self.connection_made(cast("asyncio.Transport", self.wire))

    def stream(self, number: int) -> Stream:
        """Return what is known of a stream."""
        return self.streams.setdefault(number, Stream())

    def headers_received(self, stream: int, block: bytes, *, ends: bool) -> None:
        """As `Connection.headers_received`."""
        self.stream(stream).blocks.append(block)
        self.stream(stream).ended |= ends

    def body_received(self, stream: int, piece: memoryview, *, ends: bool) -> None:
        """As `Connection.body_received`."""
        self.stream(stream).body += bytes(piece)
        self.stream(stream).pieces += 1
        self.stream(stream).ended |= ends

    def stream_reset(self, stream: int, code: int) -> None:
        """As `Connection.stream_reset`."""
        self.reset_streams.append((stream, code))

    def peer_leaves(self, last_stream: int) -> None:
        """As `Connection.peer_leaves`."""
        self.last_streams.append(last_stream)

    def will_send(self, stream: int) -> bool:
        """As `Connection.will_send`."""
        return stream in self.expected


def deliver(data: bytes, to: Connection, sizes: Sequence[int]) -> None:
    """Have an end receive bytes in pieces of these sizes, again and again."""
    position, turn = 0, 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        to.data_received(data[position : position + size])
        position, turn = position + size, turn + 1


def settle(one: End, other: End, sizes: Sequence[int] = (65536,)) -> None:
    """Carry what both write to the other, until neither has more to say."""
    while one.wire.written or other.wire.written:
        deliver(one.wire.take(), other, sizes)
        deliver(other.wire.take(), one, sizes)
