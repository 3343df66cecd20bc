"""HTTP/2 by hand, for what a well-behaved client never sends. Frames: RFC 9113; header fields: RFC 7541."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CANCEL = 8
FRAME_HEAD = 9
ANSWER_SECONDS = 10.0
LONG = 127
MOST_OF_A_FRAME = 16384


@dataclass(frozen=True)
class Frame:
    """One frame as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Return a frame as it goes over the wire."""
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def fields(named: Mapping[bytes, bytes]) -> bytes:
    """Return header fields, each as a literal without indexing and without Huffman's code."""
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in named.items())


def _string(text: bytes) -> bytes:
    if len(text) < LONG:
        return bytes([len(text)]) + text
    length, rest = bytearray([LONG]), len(text) - LONG
    while rest >= LONG + 1:
        length.append(rest % (LONG + 1) + LONG + 1)
        rest //= LONG + 1
    return bytes([*length, rest]) + text


def call_fields(path: bytes, extra: Mapping[bytes, bytes] | None = None) -> bytes:
    """Return the header fields of a gRPC call."""
    base = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path,
        b":authority": b"localhost",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
    }
    return fields({**base, **(extra or {})})


def header_frames(stream: int, block: bytes, *, ends: bool = False) -> bytes:
    """Return a block of header fields in as many frames as it needs; `ends` where no message follows."""
    parts = [block[start : start + MOST_OF_A_FRAME] for start in range(0, len(block), MOST_OF_A_FRAME)]
    last = len(parts) - 1
    return b"".join(
        frame(CONTINUATION if number else HEADERS, END_HEADERS * (number == last) | (ends and not number), stream, part)
        for number, part in enumerate(parts)
    )


def message(content: bytes) -> bytes:
    """Return a gRPC message, not compressed."""
    return b"\x00" + struct.pack("!I", len(content)) + content


class Connection:
    """A connection that sends what it is told and takes frames apart."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._rest = b""
        self.received = b""
        self.is_closed = False

    def send(self, data: bytes) -> None:
        """Send bytes; raises ConnectionError or TimeoutError where the other side takes no more."""
        self._socket.sendall(data)

    def wait_at_most(self, seconds: float) -> None:
        """Let silence end `frames` after that many seconds instead of ten."""
        self._socket.settimeout(seconds)

    def frames(self) -> Iterator[Frame]:
        """Yield frames until the other side closes or says nothing for ten seconds."""
        while True:
            while len(self._rest) < FRAME_HEAD or len(self._rest) < FRAME_HEAD + self._length():
                data = self._read()
                if not data:
                    return
                self._rest += data
                self.received += data
            length = self._length()
            kind, flags, stream = struct.unpack("!BBI", self._rest[3:FRAME_HEAD])
            payload, self._rest = self._rest[FRAME_HEAD : FRAME_HEAD + length], self._rest[FRAME_HEAD + length :]
            yield Frame(kind, flags, stream, payload)

    def _length(self) -> int:
        return int.from_bytes(self._rest[:3])

    def _read(self) -> bytes:
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return b""
        except ConnectionError:
            data = b""
        self.is_closed = not data
        return data


@contextlib.contextmanager
def connection(port: int, preface: bytes = PREFACE + frame(SETTINGS)) -> Iterator[Connection]:
    """Connect to a server on loopback and say hello."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connected:
        connected.sendall(preface)
        yield Connection(connected)


def called(port: int, path: bytes, content: bytes, extra: Mapping[bytes, bytes] | None = None) -> tuple[str, bytes]:
    """Make one gRPC call; return its status as a number, `reset`, `goaway` or `closed`, and all that was received."""
    with connection(port) as opened:
        try:
            opened.send(header_frames(1, call_fields(path, extra)))
            opened.send(frame(DATA, END_STREAM, 1, message(content)))
        except (ConnectionError, TimeoutError):
            return "closed", opened.received
        return _ending(opened), opened.received


def _ending(opened: Connection) -> str:
    for found in opened.frames():
        if found.kind == HEADERS and found.flags & END_STREAM:
            status = re.search(rb"grpc-status.(\d{1,2})", found.payload, re.DOTALL)
            return status[1].decode() if status else "unreadable"
        if found.kind == RST_STREAM:
            return "reset"
        if found.kind == GOAWAY:
            return "goaway"
    return "closed"
