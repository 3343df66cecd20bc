"""The requests in one gRPC call, so that each keeps its own trace and id across the hop.

A call that carries several requests lists them in its parameter `requests`: for each, in the order of its rows,
`rows,request id,traceparent`, joined by semicolons. A call that carries one says the same in its metadata.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from inference_core.names import is_request_id

PARAMETER = "requests"
LONGEST_TRACEPARENT = 64
LONGEST_COUNT = 9
SAMPLED = "-01"
"""How the traceparent of a request ends whose trace is kept, as gateways write it."""


class Member(msgspec.Struct, frozen=True, gc=False):
    """One request of a call: its rows, its id, and the W3C traceparent under which its worker's spans belong."""

    rows: int
    request_id: str
    traceparent: str


def to_text(members: Iterable[Member]) -> str:
    """Return the value of the parameter."""
    return ";".join([f"{member.rows},{member.request_id},{member.traceparent}" for member in members])


def from_text(text: str) -> list[Member]:
    """Return the members that a parameter lists; an entry that is malformed is left out, for it is only for show."""
    members = []
    for part in text.split(";"):
        rows, _, rest = part.partition(",")
        request_id, _, traceparent = rest.partition(",")
        if rows.isascii() and rows.isdigit() and len(rows) <= LONGEST_COUNT and is_request_id(request_id):
            members.append(Member(int(rows), request_id, traceparent[:LONGEST_TRACEPARENT]))
    return members
