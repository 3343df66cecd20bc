"""The fields that come with a gRPC call, read alike at both borders."""

from __future__ import annotations

from collections.abc import Iterable


def carried(fields: Iterable[tuple[str, str]] | None, names: Iterable[str]) -> dict[str, str]:
    """Return the value of each name, "" for one that did not come.

    A repeated one is joined as RFC 9110, section 5.3 says: of two request ids, neither is then believed. None is what
    grpc.aio gives, against its stubs, where a client sent no fields at all.
    """
    found = dict.fromkeys(names, "")
    for name, value in fields or ():
        if name in found:
            found[name] = f"{found[name]},{value}" if found[name] else value
    return found
