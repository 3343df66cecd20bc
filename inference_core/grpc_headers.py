"""gRPC's header fields in HTTP/2's form: written without compression, read in any.

What this project's own ends write is recognised byte by byte; whatever else comes is left to `hpack`. Nothing is ever
added to the peer's table, so blocks can be made ahead. Sources: RFC 7541, and gRPC's PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

import hpack
from grpc import StatusCode

from inference_core.http2_frames import Code, ConnectionBroken

Fields = list[tuple[str, str]]

PATH, TIMEOUT, STATUS, MESSAGE = ":path", "grpc-timeout", "grpc-status", "grpc-message"
NAME_INDEX = {":authority": 1, ":path": 4, "content-type": 31}
METHOD_POST, SCHEME_HTTP, STATUS_200 = b"\x83", b"\x86", b"\x88"
LITERAL, INDEXED_NAME_BITS, LENGTH_BITS = 0, 15, 127
MOST_FIELD_BYTES = 32 * 1024
UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
TIMEOUT_FORM = re.compile(r"([0-9]{1,8})([HMSmun])")
MOST_MESSAGE_BYTES, CUT_ESCAPE = 4096, re.compile("%[0-9A-F]?$")
MOST_MICROSECONDS = 99_999_999
PRINTED = "".join(chr(number) for number in range(0x20, 0x7F) if chr(number) != "%")
STATUSES = {str(status.value[0]): status for status in StatusCode}


def _number(number: int, most: int) -> bytes:
    """Return an integer whose first byte has room for `most` (RFC 7541, 5.1)."""
    if number < most:
        return bytes((number,))
    encoded, number = bytearray((most,)), number - most
    while number > LENGTH_BITS:
        encoded.append(number & LENGTH_BITS | 0x80)
        number >>= 7
    return bytes(encoded) + bytes((number,))


def literal(name: str, value: str) -> bytes:
    """Return a field as a literal that no table learns."""
    index, text = NAME_INDEX.get(name, 0), value.encode()
    encoded = _number(index, INDEXED_NAME_BITS)
    if not index:
        encoded += _number(len(name), LENGTH_BITS) + name.encode()
    return encoded + _number(len(text), LENGTH_BITS) + text


def literals(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return several fields, one after the other."""
    return b"".join([literal(name, value) for name, value in fields])


def request_start(path: str) -> bytes:
    """Return the part of a call's header block that is the same for all calls of a method."""
    fixed = METHOD_POST + SCHEME_HTTP + literal(PATH, path) + literal(":authority", "localhost")
    return fixed + literals([("te", "trailers"), ("content-type", "application/grpc")])


RESPONSE_START = STATUS_200 + literal("content-type", "application/grpc")
ENDED_WELL = literal(STATUS, "0")


def trailers(status: StatusCode, message: str, fields: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return the block that ends a call."""
    ending: Fields = [(STATUS, str(status.value[0])), *fields]
    if message:
        # Other clients take 8 KiB of fields, and a block has to fit in one frame.
        ending.append((MESSAGE, CUT_ESCAPE.sub("", quote(message, safe=PRINTED)[:MOST_MESSAGE_BYTES])))
    return literals(ending)


def told_by(fields: Iterable[tuple[str, str]]) -> tuple[StatusCode, str]:
    """Return the status and message that trailers tell."""
    told = dict(fields)
    return STATUSES.get(told.get(STATUS, ""), StatusCode.UNKNOWN), unquote(told.get(MESSAGE, ""))


def timeout_text(seconds: float) -> str:
    """Return a timeout as its field says it: in microseconds, or in seconds where that has too many digits."""
    microseconds = max(0, int(seconds * 1e6))
    return f"{microseconds}u" if microseconds <= MOST_MICROSECONDS else f"{min(int(seconds), MOST_MICROSECONDS)}S"


def timeout_seconds(text: str) -> float | None:
    """Return the seconds that a timeout's field says, None for a text that says nothing."""
    found = TIMEOUT_FORM.fullmatch(text)
    return int(found[1]) * UNITS[found[2]] if found else None


class Reader:
    """Reads one peer's header blocks, in the order in which they come. `path` is the method that is mostly called."""

    def __init__(self, path: str = "") -> None:
        self._start, self._known = request_start(path), (PATH, path)
        self._decoder = hpack.Decoder(max_header_list_size=MOST_FIELD_BYTES)

    def read(self, block: bytes) -> Fields:
        """Return a block's fields; raises ConnectionBroken for what cannot be read."""
        if block.startswith(self._start):
            short = _short_literals(block, len(self._start))
            if short is not None:
                return [self._known, *short]
        try:
            return [(str(name), str(value)) for name, value in self._decoder.decode(block)]
        except (hpack.HPACKError, UnicodeDecodeError) as error:
            raise ConnectionBroken(Code.COMPRESSION_ERROR) from error


def _short_literals(block: bytes, position: int) -> Fields | None:
    """Return what follows a known start, None where that is anything but literals below 127 bytes."""
    fields, end = [], len(block)
    while position < end:
        if block[position] != LITERAL or position + 1 >= end or block[position + 1] >= LENGTH_BITS:
            return None
        middle = position + 2 + block[position + 1]
        if middle >= end or block[middle] >= LENGTH_BITS:
            return None
        stop = middle + 1 + block[middle]
        if stop > end:
            return None
        fields.append((block[position + 2 : middle].decode("latin-1"), block[middle + 1 : stop].decode("latin-1")))
        position = stop
    return fields
