"""How compressed bodies are unpacked."""

from __future__ import annotations

import gzip

import pytest

from gateway.v2.body import GZIP_WINDOW, MOST_MEMBERS, Unpacked, Whole
from inference_core.errors import InvalidInput


def unpacked() -> Unpacked:
    """Return what unpacks a small gzip body."""
    return Unpacked(GZIP_WINDOW, Whole(1024, 0))


def test_a_body_has_a_bounded_number_of_gzip_members() -> None:
    """As many as are allowed are read as one body, in one piece or many, and one more is refused, empty or not."""
    sink = unpacked()
    sink.add(gzip.compress(b"a") * (MOST_MEMBERS - 1))
    sink.add(gzip.compress(b"b"))
    assert bytes(sink.end()) == b"a" * (MOST_MEMBERS - 1) + b"b"
    with pytest.raises(InvalidInput, match="more than 64 gzip members"):
        sink.add(gzip.compress(b""))
    with pytest.raises(InvalidInput, match="more than 64 gzip members"):
        unpacked().add(gzip.compress(b"") * (MOST_MEMBERS + 1))
