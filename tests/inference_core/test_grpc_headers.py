"""gRPC's header fields: what is written can be read by anybody, and what anybody writes can be read."""

from __future__ import annotations

import hpack
import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from inference_core.grpc_headers import (
    ENDED_WELL,
    MOST_FIELD_BYTES,
    MOST_MESSAGE_BYTES,
    RESPONSE_START,
    Reader,
    literals,
    request_start,
    timeout_seconds,
    timeout_text,
    told_by,
    trailers,
)
from inference_core.http2_frames import ConnectionBroken

PATH = "/some.Service/Method"
NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=300)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=700)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
STARTS = [(":path", PATH), (":authority", "localhost"), ("te", "trailers"), ("content-type", "application/grpc")]


def read_by(decoder: hpack.Decoder, block: bytes) -> list[tuple[str, str]]:
    """Return what a foreign reader makes of a block."""
    return [(str(name), str(value)) for name, value in decoder.decode(block)]


@given(FIELDS)
def test_what_is_written_is_read_by_hpack_and_by_us(fields: list[tuple[str, str]]) -> None:
    """A call's block says the same to a foreign reader, which learns nothing from it, and to ours."""
    block, foreign = request_start(PATH) + literals(fields), hpack.Decoder()
    for _ in range(2):
        assert read_by(foreign, block) == [(":method", "POST"), (":scheme", "http"), *STARTS, *fields]
    read = Reader(PATH).read(block)
    assert read[0] == (":path", PATH)
    assert read[len(read) - len(fields) :] == fields


@given(blocks=st.lists(FIELDS, max_size=4), huffman=st.booleans())
def test_what_hpack_writes_is_read_in_its_order(blocks: list[list[tuple[str, str]]], *, huffman: bool) -> None:
    """Blocks of a writer with tables and Huffman's code are read, also between blocks of our own kind."""
    writer, reader = hpack.Encoder(), Reader(PATH)
    for fields in blocks:
        assert reader.read(writer.encode(fields, huffman=huffman)) == fields
        assert reader.read(request_start(PATH)) == [(":path", PATH)]


@given(st.binary(max_size=100))
def test_any_block_is_read_or_ends_the_connection(rest: bytes) -> None:
    """What is cut off or means nothing raises one error, after a known start as well."""
    for block in (rest, request_start(PATH) + rest):
        try:
            fields = Reader(PATH).read(block)
        except ConnectionBroken:
            continue
        assert all(isinstance(text, str) for field in fields for text in field)


def test_a_block_of_too_many_bytes_is_not_read() -> None:
    """A small block that unpacks to a large list ends the connection."""
    writer = hpack.Encoder()
    writer.encode([("name", "x" * 4000)])
    with pytest.raises(ConnectionBroken):
        Reader().read(writer.encode([("name", "x" * 4000)] * (MOST_FIELD_BYTES // 4000 + 1)))


def test_what_every_answer_says_is_what_hpack_reads() -> None:
    """The blocks that are made ahead are those of a gRPC response."""
    assert read_by(hpack.Decoder(), RESPONSE_START) == [(":status", "200"), ("content-type", "application/grpc")]
    assert read_by(hpack.Decoder(), ENDED_WELL) == [("grpc-status", "0")]


@given(st.sampled_from(list(StatusCode)), st.text(max_size=300).map(lambda text: text * 3))
def test_a_status_and_its_sentence_come_back(status: StatusCode, message: str) -> None:
    """Any sentence crosses in printable ASCII, as the protocol wants it."""
    fields = Reader().read(trailers(status, message, [("reason", "memory")]))
    assert told_by(fields)[0] is status
    assert told_by(fields)[1] == message or len(dict(fields)["grpc-message"]) > MOST_MESSAGE_BYTES - 3
    assert dict(fields)["reason"] == "memory"
    assert all(0x20 <= ord(character) < 0x7F for _, value in fields for character in value)


def test_an_end_without_a_status_is_unknown() -> None:
    """Trailers of a stranger that say nothing, or a number that there is not, are no success."""
    assert told_by([]) == (StatusCode.UNKNOWN, "")
    assert told_by([("grpc-status", "99")]) == (StatusCode.UNKNOWN, "")


@given(st.floats(0, 1e9))
def test_a_timeout_comes_back(seconds: float) -> None:
    """It never becomes longer, nor shorter by more than its unit."""
    told = timeout_seconds(timeout_text(seconds))
    assert told is not None
    assert told <= seconds + 1e-9
    assert told >= min(seconds, 99_999_999) - (1e-6 if seconds < 99 else 1)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1H", 3600), ("2M", 120), ("3S", 3), ("500m", 0.5), ("7u", 7e-6), ("9n", 9e-9)]
)
def test_every_unit_is_known(text: str, seconds: float) -> None:
    """Other clients may say it in any unit of the protocol."""
    assert timeout_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "S", "-1S", "123456789S", "1s", "1.5S", "\u0661S"])
def test_a_timeout_that_means_nothing_is_none(text: str) -> None:
    """Who sends it has no deadline of its own."""
    assert timeout_seconds(text) is None
