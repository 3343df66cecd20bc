"""A message that arrives in pieces."""

from __future__ import annotations

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from inference_core.grpc_message import Incoming, Unacceptable, prefix
from inference_core.http2_frames import ConnectionBroken

MOST = 1000


def pieces(data: bytes, sizes: list[int]) -> list[memoryview]:
    """Cut data."""
    cut, position, turn = [], 0, 0
    while position < len(data):
        cut.append(memoryview(data)[position : position + sizes[turn % len(sizes)]])
        position, turn = position + sizes[turn % len(sizes)], turn + 1
    return cut


def add_all(incoming: Incoming, parts: list[memoryview]) -> None:
    """Have a message take all pieces."""
    for part in parts:
        incoming.add(part)


@given(st.binary(max_size=MOST), st.lists(st.integers(1, 400), min_size=1, max_size=6))
def test_a_message_is_whole_with_its_last_byte(message: bytes, sizes: list[int]) -> None:
    """In whatever pieces it comes, it is whole exactly then, and cannot be written to."""
    incoming = Incoming(MOST)
    for piece in pieces(prefix(len(message)) + message, sizes):
        assert not incoming.is_whole
        incoming.add(piece)
    assert incoming.is_whole
    taken = incoming.take()
    assert bytes(taken) == message
    assert memoryview(taken).readonly
    assert not incoming.is_whole


def test_one_that_is_too_large_is_told_by_its_prefix() -> None:
    """No memory is taken for a message that is larger than this end takes."""
    with pytest.raises(Unacceptable) as caught:
        Incoming(MOST).add(memoryview(prefix(MOST + 1)))
    assert caught.value.status is StatusCode.RESOURCE_EXHAUSTED


def test_a_compressed_one_is_told_by_its_prefix() -> None:
    """Its sender learns what is taken instead (PROTOCOL-HTTP2.md)."""
    with pytest.raises(Unacceptable) as caught:
        Incoming(MOST).add(memoryview(b"\x01\x00\x00\x00\x01x"))
    assert (caught.value.status, *caught.value.fields) == (
        StatusCode.UNIMPLEMENTED,
        ("grpc-accept-encoding", "identity"),
    )


@pytest.mark.parametrize("data", [prefix(1) + b"xy", prefix(0) + b"x"])
def test_what_is_no_single_message_ends_the_connection(data: bytes) -> None:
    """Streams of several are not spoken here."""
    for sizes in ([len(data)], [1], [5, 1]):
        with pytest.raises(ConnectionBroken):
            add_all(Incoming(MOST), pieces(data, sizes))
