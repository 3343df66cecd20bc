"""The answer to a request that is turned away before the application sees it.

Nothing that the client sent is repeated, in the answer or in the log.
"""

from __future__ import annotations

import http
import json
import logging
import secrets
import uuid
from typing import NamedTuple

logger = logging.getLogger("gateway.http")

Field = tuple[bytes, bytes]
Peer = tuple[str, int]


class Refusal(NamedTuple):
    """Why the server itself turns a request away; `sentence` tells the client what to do instead."""

    status: int
    sentence: str
    fields: tuple[Field, ...] = ()


class Refused(Exception):
    """Ends the parsing of a request that is turned away."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.sentence)
        self.refusal = refusal


class Answer(NamedTuple):
    """A whole response, header section and JSON body apart, and the two ids that it carries."""

    head: bytes
    body: bytes
    request_id: str
    trace_id: str


def answer(refusal: Refusal, default_fields: list[Field]) -> Answer:
    """Return the response for a refusal, which always ends the connection.

    The trace id has the form of W3C Trace Context (32 lower-case hexadecimal digits), the request id that of UUID 4.
    """
    body = json.dumps({"error": refusal.sentence}, separators=(",", ":")).encode("ascii")
    request_id, trace_id = uuid.uuid4().hex, secrets.token_hex(16)
    fields = [
        *default_fields,
        *refusal.fields,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        (b"x-request-id", request_id.encode()),
        (b"x-trace-id", trace_id.encode()),
    ]
    status_line = f"HTTP/1.1 {refusal.status} {http.HTTPStatus(refusal.status).phrase}\r\n".encode()
    return Answer(
        b"".join([status_line, *(b"%b: %b\r\n" % field for field in fields), b"\r\n"]), body, request_id, trace_id
    )


def log_refusal(refusal: Refusal, reply: Answer, client: Peer | None) -> None:
    """Write the one log line of a refused request: our own sentence, the status, the ids and the peer's address."""
    logger.info(
        "refused",
        extra={
            "status": refusal.status,
            "reason": refusal.sentence,
            "request_id": reply.request_id,
            "trace_id": reply.trace_id,
            "client": client[0] if client else None,
        },
    )
