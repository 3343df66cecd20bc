"""An HTTP/2 connection's frames, windows and ends, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW,
    FRAME_SIZE,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    MOST_HEADER_BYTES,
    NUMBER,
    PADDED,
    PING,
    PUSH_PROMISE,
    RST_STREAM,
    SETTING,
    SETTINGS,
    WIDEST_WINDOW,
    WINDOW_UPDATE,
    Code,
    frame,
)
from tests.inference_core.wires import End, deliver, settle

SIZES = st.lists(st.integers(1, 70_000), min_size=1, max_size=8)
BODIES = st.lists(st.lists(st.binary(max_size=200).map(lambda seed: seed * 600), min_size=1, max_size=3), max_size=6)


def settings(**values: int) -> bytes:
    """Return a SETTINGS frame."""
    names = {"window": INITIAL_WINDOW, "frame": FRAME_SIZE}
    return frame(SETTINGS, 0, 0, b"".join([SETTING.pack(names[name], value) for name, value in values.items()]))


def windows(connection: int, **streams: int) -> bytes:
    """Return WINDOW_UPDATE frames for a connection and for streams by their numbers, such as s1."""
    widened = {0: connection, **{int(name[1:]): size for name, size in streams.items()}}
    return b"".join([frame(WINDOW_UPDATE, 0, number, NUMBER.pack(size)) for number, size in widened.items()])


@given(BODIES, SIZES)
def test_bodies_arrive_whole_however_they_are_cut(bodies: list[list[bytes]], sizes: list[int]) -> None:
    """Every body arrives in order with what stands before and after it, in whatever pieces the socket gives."""
    one, other = End(), End()
    for number, body in enumerate(bodies):
        before = frame(HEADERS, END_HEADERS, 2 * number + 1, b"before")
        one.outbox.send(
            2 * number + 1, before, body, frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, b"after")
        )
    settle(one, other, sizes)
    for number, body in enumerate(bodies):
        stream = other.streams[2 * number + 1]
        assert (stream.blocks, stream.body, stream.ended) == ([b"before", b"after"], b"".join(body), True)


@given(st.integers(0, 9000), st.lists(st.integers(1, 5000), min_size=1), st.binary(min_size=1).map(lambda it: it * 300))
def test_no_more_is_sent_than_the_peer_takes(first: int, more: list[int], body: bytes) -> None:
    """A stream's window bounds its DATA at every moment, and what is widened is used at once."""
    one, allowed = End(), first
    one.data_received(settings(window=first))
    one.wire.take()
    one.outbox.send(1, b"", [body])
    other = End()
    deliver(one.wire.take(), other, [64])
    assert len(other.stream(1).body) == min(allowed, len(body))
    for size in more:
        allowed += size
        one.data_received(windows(1000, s1=size))
        deliver(one.wire.take(), other, [64])
        assert len(other.stream(1).body) == min(allowed, len(body), FIRST_WINDOW + 1000 * len(more))
    assert other.stream(1).ended is (allowed >= len(body))


def test_the_connections_window_bounds_all_streams_together() -> None:
    """Two bodies that do not fit in the connection's window share it, and end when it is widened."""
    one, other = End(), End()
    one.data_received(settings(window=WIDEST_WINDOW))
    bodies = {1: b"a" * FIRST_WINDOW, 3: b"b" * FIRST_WINDOW}
    for number, body in bodies.items():
        one.outbox.send(number, b"", [body])
    deliver(one.wire.take(), other, [1000])
    assert sum(len(stream.body) for stream in other.streams.values()) == FIRST_WINDOW
    one.data_received(windows(FIRST_WINDOW))
    deliver(one.wire.take(), other, [1000])
    assert {number: (stream.body, stream.ended) for number, stream in other.streams.items()} == {
        number: (body, True) for number, body in bodies.items()
    }


def test_a_body_without_a_window_holds_no_other_back() -> None:
    """A stream whose peer takes nothing of it waits alone."""
    one, other = End(), End()
    one.data_received(settings(window=10))
    one.outbox.send(1, b"", [b"x" * 100])
    one.outbox.send(3, b"", [b"y" * 10])
    deliver(one.wire.take(), other, [7])
    assert (len(other.streams[1].body), other.streams[1].ended) == (10, False)
    assert (other.streams[3].body, other.streams[3].ended) == (b"y" * 10, True)


def test_a_body_that_waits_is_dropped_with_its_stream() -> None:
    """Neither a reset that is sent nor one that comes leaves a body behind to be sent later."""
    one, other = End(), End()
    one.data_received(settings(window=0))
    one.outbox.send(1, b"", [b"x"])
    one.outbox.send(3, b"", [b"y"])
    one.reset(1, Code.CANCEL)
    one.data_received(frame(RST_STREAM, 0, 3, NUMBER.pack(Code.CANCEL)) + windows(0, s1=10, s3=10) + settings(window=9))
    deliver(one.wire.take(), other, [100])
    assert other.reset_streams == [(1, Code.CANCEL)]
    assert one.reset_streams == [(3, Code.CANCEL)]
    assert other.streams == {}


def test_a_window_counts_before_its_body_is_there() -> None:
    """A peer may widen the window of an answer that is not made yet; streams that nobody awaits leave nothing."""
    one, other = End(), End()
    one.expected = {1}
    one.data_received(settings(window=10) + windows(0, s1=90, s3=90))
    one.outbox.send(1, b"", [b"x" * 100])
    one.outbox.send(3, b"", [b"y" * 100])
    deliver(one.wire.take(), other, [100])
    assert {number: len(stream.body) for number, stream in other.streams.items()} == {1: 100, 3: 10}


def test_a_window_that_was_made_smaller_counts() -> None:
    """SETTINGS that take back what a waiting body might have used are obeyed (RFC 9113, 6.9.2)."""
    one, other = End(), End()
    one.data_received(settings(window=10))
    one.outbox.send(1, b"", [b"x" * 30])
    one.data_received(settings(window=0) + windows(100, s1=15))
    deliver(one.wire.take(), other, [100])
    assert len(other.streams[1].body) == 15


class Deaf(End):
    """Keeps nothing of what it gets."""

    def body_received(self, stream: int, piece: memoryview, *, ends: bool) -> None:
        """As `Connection.body_received`."""


def test_what_was_received_widens_the_window_again() -> None:
    """The connection's window never runs dry: a peer that has sent half of it gets that back."""
    one, chunk = Deaf(), frame(DATA, 0, 1, bytes(2**24 - 1))
    one.wire.take()
    received = 0
    while received <= WIDEST_WINDOW // 2:
        assert not one.wire.written
        one.data_received(chunk)
        received += 2**24 - 1
    assert one.wire.take() == frame(WINDOW_UPDATE, 0, 0, NUMBER.pack(received))


def test_pings_and_settings_are_acknowledged() -> None:
    """A peer that asks whether anybody is there is told, and what it says to settings of ours is taken."""
    one = End()
    one.wire.take()
    one.data_received(frame(PING, 0, 0, b"12345678") + settings(frame=2**20) + frame(SETTINGS, ACK, 0, b""))
    assert one.wire.take() == frame(PING, ACK, 0, b"12345678") + frame(SETTINGS, ACK, 0, b"")


def test_a_header_block_may_come_in_several_frames() -> None:
    """HEADERS and what continues them are one block."""
    one = End()
    one.data_received(frame(HEADERS, END_STREAM, 1, b"ab") + frame(CONTINUATION, 0, 1, b"cd"))
    assert not one.streams
    one.data_received(frame(CONTINUATION, END_HEADERS, 1, b"ef"))
    assert (one.streams[1].blocks, one.streams[1].ended) == ([b"abcdef"], True)


def test_a_peer_that_leaves_says_which_streams_it_still_answers() -> None:
    """GOAWAY has the last stream that counts."""
    one, other = End(), End()
    one.leave(last_stream=7)
    settle(one, other)
    assert other.last_streams == [7]
    assert not one.is_open


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(DATA, PADDED, 1, b"\x00"), Code.PROTOCOL_ERROR),
        (frame(DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR),
        (frame(HEADERS, PADDED | END_HEADERS, 1, b"\x00"), Code.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 0, b""), Code.PROTOCOL_ERROR),
        (frame(CONTINUATION, END_HEADERS, 1, b""), Code.PROTOCOL_ERROR),
        (frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, END_HEADERS, 3, b""), Code.PROTOCOL_ERROR),
        (frame(HEADERS, 0, 1, b"") + frame(PING, 0, 0, b"12345678"), Code.PROTOCOL_ERROR),
        (frame(HEADERS, 0, 1, b"") + frame(DATA, 0, 1, b""), Code.PROTOCOL_ERROR),
        (frame(PUSH_PROMISE, END_HEADERS, 1, b""), Code.PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 1, b"\x00"), Code.PROTOCOL_ERROR),
        (frame(GOAWAY, 0, 0, b""), Code.PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 0, b"12345"), Code.PROTOCOL_ERROR),
        (settings(frame=2**31), Code.PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, NUMBER.pack(WIDEST_WINDOW)), Code.FLOW_CONTROL_ERROR),
        (frame(HEADERS, END_HEADERS, 1, bytes(MOST_HEADER_BYTES + 1)), Code.ENHANCE_YOUR_CALM),
        (
            frame(HEADERS, 0, 1, bytes(MOST_HEADER_BYTES)) + frame(CONTINUATION, 0, 1, b"x"),
            Code.ENHANCE_YOUR_CALM,
        ),
    ],
)
def test_what_is_not_known_ends_the_connection(data: bytes, code: Code) -> None:
    """A peer that does what this end does not know is told why, and left."""
    one = End()
    one.wire.take()
    one.data_received(data)
    assert one.wire.take().endswith(NUMBER.pack(code))
    assert one.wire.closed
    assert not one.is_open


@given(st.binary(max_size=300), SIZES)
def test_any_bytes_end_in_order(data: bytes, sizes: list[int]) -> None:
    """Bytes that mean nothing raise nothing."""
    one = End()
    deliver(data, one, sizes)
    assert isinstance(one.wire.take(), bytes)
