"""HTTP/2's frames as bytes, and why streams and connections end. Source: RFC 9113."""

from __future__ import annotations

import enum
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = struct.Struct(">HBBBI")
HEAD_BYTES = HEAD.size
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32
PRIORITY_BYTES = 5
TABLE_SIZE, MOST_STREAMS, INITIAL_WINDOW, FRAME_SIZE = 1, 3, 4, 5
SETTING = struct.Struct(">HI")
NUMBER = struct.Struct(">I")
FIRST_WINDOW, WIDEST_WINDOW = 65_535, 2**31 - 1
FIRST_FRAME_SIZE, OUR_FRAME_SIZE, LARGEST_FRAME_SIZE = 16_384, 2**20, 2**24 - 1
MOST_HEADER_BYTES = 64 * 1024
STREAM_BITS = 0x7FFFFFFF


class Code(enum.IntEnum):
    """Why a stream or connection ends (RFC 9113, 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionBroken(Exception):
    """The peer does what HTTP/2 or this end does not know; `code` is what it is told."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame's bytes."""
    return HEAD.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def data_head(size: int, flags: int, stream: int) -> bytes:
    """Return what stands before so many bytes of DATA."""
    return HEAD.pack(size >> 8, size & 0xFF, DATA, flags, stream)
