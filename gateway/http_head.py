"""What a request line and header section must say before the application may see them (RFC 9112, RFC 9110).

The parser below has already refused broken syntax and conflicting lengths; here stands what it lets through.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from gateway.http_refusal import Field, Refusal, Refused

REMEMBERED = 128
"""How many sound targets and hosts are remembered: clients repeat themselves, and each check costs microseconds."""

SERVED_VERSIONS = ("1.0", "1.1")
REFUSED_METHODS = (b"CONNECT", b"TRACE")
EXAMINED = (b"host", b"expect", b"transfer-encoding")
BODY_FIELDS = (b"content-length", b"transfer-encoding")
NEVER_TRAILERS = frozenset(
    b"authorization connection content-encoding content-length content-type cookie expect host "
    b"proxy-authorization te trailer transfer-encoding upgrade".split()
)
"""Fields for framing, routing, authentication or content format, which RFC 9110 section 6.5.1 keeps out of trailers."""

AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
ABSOLUTE_FORM = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
PATH = re.compile(rb"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%(?!2[Ff]|5[Cc])[0-9A-Fa-f]{2})*")
QUERY = re.compile(rb"[\x21\x22\x24-\x7e]*")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

ALLOW = (b"allow", b"GET, HEAD, POST, OPTIONS")
OTHER_VERSION = Refusal(505, "Use HTTP/1.1.")
REFUSED_METHOD = Refusal(405, "CONNECT and TRACE are not served; use GET, HEAD, POST or OPTIONS.", (ALLOW,))
BAD_HOST = Refusal(400, "Send exactly one Host header that holds a host name and, if need be, a port.")
FOREIGN_HOST = Refusal(421, "This server does not answer for that host; use a name listed in gateway.allowed_hosts.")
UNKNOWN_EXPECTATION = Refusal(417, "Send no Expect header, or Expect: 100-continue.")
LARGE_BODY = Refusal(413, "Send a smaller body; gateway.max_body_bytes is the limit.")
OLD_CHUNKED = Refusal(400, "Send an HTTP/1.0 body with Content-Length, or use HTTP/1.1.")
MALFORMED = Refusal(400, "Send a well-formed HTTP/1.1 request with one valid length.")
LONG_TARGET = Refusal(414, "Send a shorter request target; put long input into the body.")
LARGE_HEADER = Refusal(431, "Send fewer and shorter header fields.")
MANY_CHUNKS = Refusal(413, "Send the body in fewer and larger chunks.")
BAD_TRAILER = Refusal(400, "Send framing, routing and credentials in the header section, not in trailers.")
UPGRADE_WITH_BODY = Refusal(400, "Send a request with a body without an Upgrade header; no upgrade is offered here.")
BAD_TARGET = Refusal(400, "Send a request target that is a path or an http:// URL.")
OTHER_SCHEME = Refusal(421, "This connection serves http:// URLs only.")
BAD_PATH = Refusal(
    400,
    "Send a path of printable ASCII, with everything else percent-encoded as UTF-8; "
    "control characters, encoded slashes and dot segments are not accepted.",
)


class Target(NamedTuple):
    """The request target, taken apart. `authority` is empty unless the client sent the absolute form."""

    authority: bytes
    path: str
    raw_path: bytes
    query: bytes


def check_line(version: str, method: bytes) -> None:
    """Refuse versions other than HTTP/1.0 and 1.1, and methods that belong to proxies and debuggers."""
    if version not in SERVED_VERSIONS:
        raise Refused(OTHER_VERSION)
    if method in REFUSED_METHODS:
        raise Refused(REFUSED_METHOD)


def check_fields(version: str, fields: list[Field], authority: bytes, allowed_hosts: frozenset[bytes]) -> None:
    """Check Host, Expect and Transfer-Encoding; `authority` from an absolute-form target outranks Host.

    Raises Refused with status 400, 417 or 421.
    """
    examined = [field for field in fields if field[0] in EXAMINED]
    hosts = [value for name, value in examined if name == b"host"]
    if len(hosts) > 1 or (not hosts and version != "1.0"):
        raise Refused(BAD_HOST)
    for host in hosts:
        _check_host(host, allowed_hosts, routed_here=not authority)
    if authority:
        _check_host(authority, allowed_hosts, routed_here=True)
    for name, value in examined:
        if name == b"expect" and value.lower() != b"100-continue":
            raise Refused(UNKNOWN_EXPECTATION)
        if name == b"transfer-encoding" and version == "1.0":
            raise Refused(OLD_CHUNKED)


def _check_host(authority: bytes, allowed_hosts: frozenset[bytes], *, routed_here: bool) -> None:
    if host_name(authority) not in allowed_hosts and routed_here:
        raise Refused(FOREIGN_HOST)


@lru_cache(maxsize=REMEMBERED)
def host_name(authority: bytes) -> bytes:
    """Return the name in a Host field or an authority, in lower case; raises Refused for a malformed one."""
    match = AUTHORITY.fullmatch(authority)
    if match is None:
        raise Refused(BAD_HOST)
    return match[1].lower()


@lru_cache(maxsize=REMEMBERED)
def read_target(target: bytes) -> Target:
    """Take a request target in origin or absolute form apart.

    Raises Refused with status 400 for every other form and for a path that decodes to control characters, to bytes
    that are not UTF-8, to a hidden separator or to dot segments; with 421 for an absolute form that is not http.
    """
    authority = b""
    if not target.startswith(b"/"):
        authority, target = _split_absolute(target)
    raw_path, _, query = target.partition(b"?")
    if not PATH.fullmatch(raw_path) or not QUERY.fullmatch(query):
        raise Refused(BAD_PATH)
    return Target(authority, _decode(raw_path), raw_path, query)


def _split_absolute(target: bytes) -> tuple[bytes, bytes]:
    match = ABSOLUTE_FORM.fullmatch(target)
    if match is None or not match[2]:
        raise Refused(BAD_TARGET)
    if match[1].lower() != b"http":
        raise Refused(OTHER_SCHEME)
    rest = match[3]
    return match[2], rest if rest.startswith(b"/") else b"/" + rest


def _decode(raw_path: bytes) -> str:
    try:
        path = unquote_to_bytes(raw_path).decode("utf-8") if b"%" in raw_path else raw_path.decode("ascii")
    except UnicodeDecodeError as error:
        raise Refused(BAD_PATH) from error
    if CONTROL.search(path) or ("/." in path and {".", ".."} & set(path.split("/"))):
        raise Refused(BAD_PATH)
    return path


def check_length(fields: list[Field], limit: int) -> int | None:
    """Return the declared length, 0 without a body and None for one in chunks.

    Raises Refused with status 413 for more than `limit` bytes, while nothing of the body has been asked for.
    """
    for name, value in fields:
        if name == b"content-length":
            length = int(value)
            if length > limit:
                raise Refused(LARGE_BODY)
            return length
        if name == b"transfer-encoding":
            return None
    return 0


def replace_host(fields: list[Field], authority: bytes) -> None:
    """Put the target's authority in the place of Host, in the same list, as RFC 9112 section 3.2.2 demands."""
    fields[:] = [(b"host", authority), *(field for field in fields if field[0] != b"host")]


def has_body(fields: list[Field]) -> bool:
    """Tell whether the header section announces a body."""
    return any(name in BODY_FIELDS and value.strip(b"0") for name, value in fields)
