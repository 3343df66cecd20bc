"""Raw requests that an HTTP server must survive, with the statuses that are right for each, and how to send them.

Each belongs to a row of the fault catalogue: E01 to E20. A vector passes if the response, or the only response, has one
of the statuses; `responses` says how many there may be. HOST stands for the header line that names the server.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

HOST = b"Host: localhost\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
POST = b"POST /echo HTTP/1.1\r\n" + HOST
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) [^\r\n]*\r\n")
REFUSED = frozenset({400})
CLOSED = 0
"""Stands for a connection closed without a response."""


@dataclass(frozen=True)
class Vector:
    """One attack: the bytes, and what may come back."""

    row: str
    name: str
    data: bytes
    statuses: frozenset[int] = REFUSED
    responses: int = 1
    closes: bool = True

    @property
    def identity(self) -> str:
        """The row and the name, as test ids and tables show them."""
        return f"{self.row}-{self.name}"


def statuses_in(received: bytes) -> list[int]:
    """Return the status codes of the responses in these bytes, interim ones left out."""
    return [status for status in map(int, STATUS_LINE.findall(received)) if status >= 200]


def exchange(address: tuple[str, int], data: bytes, seconds: float) -> tuple[bytes, bool]:
    """Send bytes and return what came back, and whether the server closed within `seconds` of its last word."""
    received = bytearray()
    with socket.create_connection(address, timeout=seconds) as client:
        # A server may answer and close before it has read everything; its answer is still to be read.
        with contextlib.suppress(OSError):
            client.sendall(data)
        try:
            while piece := client.recv(65536):
                received += piece
        except TimeoutError:
            return bytes(received), False
        except ConnectionError:
            return bytes(received), True
    return bytes(received), True


def verdict(vector: Vector, received: bytes, *, closed: bool) -> str:
    """Return an empty string if the server did right, else what was wrong."""
    statuses = statuses_in(received) or ([CLOSED] if closed else [])
    if len(statuses) != vector.responses:
        return f"{len(statuses)} responses {statuses}" if statuses else "no answer, left open"
    if not vector.statuses.issuperset(statuses):
        return f"status {statuses[0]}"
    if vector.closes and not closed:
        return "left open"
    return ""


def chunked(body: bytes, fields: bytes = b"") -> bytes:
    """Return a chunked POST with that raw body section."""
    return POST + fields + b"Transfer-Encoding: chunked\r\n\r\n" + body


def with_length(length: bytes) -> bytes:
    """Return a POST with that Content-Length and five bytes of body, and a request smuggled behind."""
    return POST + b"Content-Length: " + length + b"\r\n\r\nhello" + SMUGGLED


def _framing() -> Iterator[Vector]:
    te = b"Transfer-Encoding: chunked\r\n"
    tail = b"0\r\n\r\n" + SMUGGLED
    either = frozenset({400, 501})
    yield Vector("E01", "length-and-chunked", POST + b"Content-Length: 5\r\n" + te + b"\r\n" + tail, either)
    yield Vector("E01", "chunked-twice", POST + te + te + b"\r\n" + tail, either)
    for name, value in {
        "chunked-identity": b"chunked, identity",
        "xchunked": b"xchunked",
        "vertical-tab": b"\x0bchunked",
        "identity": b"identity",
    }.items():
        yield Vector("E01", name, POST + b"Transfer-Encoding: " + value + b"\r\n\r\n" + tail, either)
    same = b"Content-Length: 5\r\n"
    yield Vector("E02", "equal-twice", POST + same + same + b"\r\nhello" + SMUGGLED)
    yield Vector("E02", "different-twice", POST + same + b"Content-Length: 6\r\n\r\nhello" + SMUGGLED)
    for name, length in {
        "list": b"5, 5",
        "plus": b"+3",
        "hex": b"0x3",
        "underscore": b"1_0",
        "negative": b"-1",
        "arabic": "\u0665".encode(),
        "empty": b"",
    }.items():
        yield Vector("E02", name, with_length(length))
    too_large = frozenset({400, 413})
    for name, number in {"2^64": 2**64, "2^64+5": 2**64 + 5, "2^70": 2**70, "2^63-1": 2**63 - 1}.items():
        row = "E06" if number < 2**64 else "E05"
        yield Vector(row, f"length-{name}", with_length(b"%d" % number), too_large)
    for name, size in {"2^64": b"1" + b"0" * 16, "2^64+3": b"1" + b"0" * 15 + b"3"}.items():
        yield Vector("E05", f"chunk-{name}", chunked(size + b"\r\nabc\r\n0\r\n\r\n" + SMUGGLED), too_large)


def _syntax() -> Iterator[Vector]:
    for name, field in {
        "bare-cr": b"X: a\rb\r\n",
        "nul": b"X: a\x00b\r\n",
        "escape": b"X: a\x1bb\r\n",
        "space-before-colon": b"X : a\r\n",
        "bad-name": b"X(y): a\r\n",
        "no-colon": b"Xyz\r\n",
    }.items():
        yield Vector("E03", name, GET + field + b"\r\n")
    yield Vector("E04", "folded", GET + b"X: a\r\n b\r\n\r\n")
    yield Vector("E04", "bare-lf", b"GET / HTTP/1.1\nHost: localhost\n\n")
    version = frozenset({400, 505})
    yield Vector(
        "E07", "chunked-1.0", b"POST /echo HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    yield Vector("E07", "0.9", b"GET /\r\n\r\n", version)
    yield Vector("E07", "9.9", b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", version)
    yield Vector("E07", "2.0", b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", version)
    yield Vector("E07", "h2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", version)


def _hosts() -> Iterator[Vector]:
    line = b"GET / HTTP/1.1\r\n"
    foreign = frozenset({421})
    yield Vector("E08", "missing", line + b"\r\n")
    yield Vector("E08", "two", line + HOST + HOST + b"\r\n")
    yield Vector("E08", "foreign", line + b"Host: evil.example\r\n\r\n", foreign)
    yield Vector("E08", "suffix", line + b"Host: localhost.evil.example\r\n\r\n", foreign)
    yield Vector("E08", "userinfo", line + b"Host: a/b@c\r\n\r\n")
    yield Vector("E08", "empty", line + b"Host:\r\n\r\n")
    yield Vector("E09", "foreign", b"GET http://evil.example/ HTTP/1.1\r\n" + HOST + b"\r\n", foreign)
    yield Vector("E09", "userinfo", b"GET http://localhost@evil.example/ HTTP/1.1\r\n" + HOST + b"\r\n")
    yield Vector("E09", "https", b"GET https://localhost/ HTTP/1.1\r\n" + HOST + b"\r\n", foreign)
    yield Vector("E10", "target-20-kB", b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", frozenset({414}))
    large = frozenset({431})
    yield Vector("E10", "field-100-kB", GET + b"X: " + b"a" * 100_000 + b"\r\n\r\n", large)
    yield Vector("E10", "300-fields", GET + b"X: a\r\n" * 300 + b"\r\n", large)
    yield Vector("E10", "endless-field", GET + b"X: " + b"a" * 200_000, large)
    yield Vector("E10", "endless-target", b"GET /" + b"a" * 200_000, frozenset({414}))


def _paths() -> Iterator[Vector]:
    closed_or_not = frozenset({400, 404})
    for name, path in {
        "nul": b"/%00",
        "not-utf8": b"/%ff",
        "crlf": b"/%0d%0aX:y",
        "escape": b"/%1b",
        "encoded-slash": b"/..%2fetc",
        "encoded-backslash": b"/..%5cetc",
        "c1-control": b"/%c2%85",
        "dots": b"/../etc",
        "raw-utf8": "/ü".encode(),
        "half-escape": b"/%4",
    }.items():
        yield Vector("E12", name, b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n", closed_or_not)
    for field in (b"Content-Length: 3", b"Host: evil.example", b"Authorization: Bearer x"):
        trailer = b"5\r\nhello\r\n0\r\n" + field + b"\r\n\r\n"
        yield Vector("E13", field.split(b":")[0].decode().lower(), chunked(trailer))
    unread = b"POST /refuse HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % (len(SMUGGLED) + 1) + SMUGGLED
    yield Vector("E14", "unread-body", unread, frozenset({413}))
    yield Vector("E14", "after-close", GET + b"Connection: close\r\n\r\n" + SMUGGLED, frozenset({200}))
    yield Vector("E14", "after-malformed", GET + b"X : a\r\n\r\n" + SMUGGLED)
    upgrade = b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED)
    yield Vector("E14", "upgrade-with-body", POST + upgrade + SMUGGLED, frozenset({200, 400}), closes=False)


def _methods() -> Iterator[Vector]:
    waits = POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    yield Vector("E15", "continue-then-silence", waits, frozenset({408}))
    yield Vector("E15", "junk", GET + b"Expect: junk\r\n\r\n", frozenset({417}))
    refused = frozenset({400, 405, 414, 501})
    for name, method in {
        "trace": b"TRACE",
        "nul": b"G\x00T",
        "lower-case": b"get",
        "4-kB": b"A" * 4096,
    }.items():
        yield Vector("E16", name, method + b" / HTTP/1.1\r\n" + HOST + b"\r\n", refused)
    yield Vector("E16", "connect", b"CONNECT localhost:1 HTTP/1.1\r\n" + HOST + b"\r\n", refused)
    yield Vector("E18", "stalled-body", POST + b"Content-Length: 5\r\n\r\nhel", frozenset({408}))


VECTORS = (*_framing(), *_syntax(), *_hosts(), *_paths(), *_methods())
