"""One gRPC message as its stream brings it: a prefix of five bytes, then its bytes, in pieces of any size."""

from __future__ import annotations

import struct

from grpc import StatusCode

from inference_core.http2_frames import Code, ConnectionBroken
from inference_core.tensors import Buffer

PREFIX = struct.Struct(">BI")


def prefix(size: int) -> bytes:
    """Return what stands before a message of so many bytes that is not compressed."""
    return PREFIX.pack(0, size)


class Unacceptable(Exception):
    """The message is none that this end takes: its call ends with that status, sentence and fields."""

    def __init__(self, status: StatusCode, sentence: str, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.fields = status, sentence, fields


TOO_LARGE = "The message is larger than its receiver takes (inference.max_message_bytes)."
COMPRESSED = "Compressed messages are not taken here."
UNCOMPRESSED = (("grpc-accept-encoding", "identity"),)


class Incoming:
    """A stream's message. Each of its pieces is copied once, to its place."""

    __slots__ = ("_filled", "_message", "_most", "_start")

    def __init__(self, most_bytes: int) -> None:
        self._message: bytes | bytearray | None = None
        self._most = most_bytes
        self._start = b""
        self._filled = 0

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there."""
        return self._message is not None and self._filled == len(self._message)

    def take(self) -> Buffer:
        """Return the whole message, which this end forgets; nothing can be written to it."""
        message, self._message = self._message, None
        return memoryview(message).toreadonly() if isinstance(message, bytearray) else message or b""

    def add(self, piece: memoryview) -> None:
        """Take a piece; raises Unacceptable, and ConnectionBroken for what is no single message."""
        if self._message is not None:
            self._fill(self._message, piece)
        elif len(self._start) + len(piece) < PREFIX.size:
            self._start += piece
        else:
            self._begin(memoryview(self._start + bytes(piece)) if self._start else piece)

    def _begin(self, piece: memoryview) -> None:
        compressed, size = PREFIX.unpack_from(piece)
        if compressed:
            raise Unacceptable(StatusCode.UNIMPLEMENTED, COMPRESSED, UNCOMPRESSED)
        if size > self._most:
            raise Unacceptable(StatusCode.RESOURCE_EXHAUSTED, TOO_LARGE)
        piece = piece[PREFIX.size :]
        if len(piece) == size:
            self._message, self._filled = bytes(piece), size
        else:
            self._message = bytearray(size)
            self._fill(self._message, piece)

    def _fill(self, message: bytes | bytearray, piece: memoryview) -> None:
        filled = self._filled + len(piece)
        if filled > len(message):
            raise ConnectionBroken(Code.PROTOCOL_ERROR)
        if isinstance(message, bytearray):
            message[self._filled : filled] = piece
        self._filled = filled
