"""A message that is put together here is the one that protobuf would have written, and the other way round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from inference_core import raw_messages
from inference_core.bounds import MOST_TENSORS
from inference_core.errors import InvalidInput
from inference_core.raw_messages import (
    LARGE_BYTES,
    RAW_INPUTS,
    RAW_OUTPUTS,
    joined,
    parted,
    read_request,
    read_response,
    request_bytes,
    response_bytes,
)
from inference_core.tensors import Arrays, read_tensors, write_inputs, write_outputs
from inference_pb import open_inference_pb2 as wire
from tests.inference_core.strategies import NAMES, any_arrays, same

RAW = st.lists(st.binary(max_size=300), max_size=4)
ARRAYS = st.dictionaries(NAMES, any_arrays(), max_size=4)


@given(st.text(max_size=300), RAW)
def test_joined_is_what_protobuf_writes(name: str, raw: list[bytes]) -> None:
    """Protobuf reads the raw contents that were put behind a message."""
    message = wire.ModelInferRequest(model_name=name, id="7")
    found = wire.ModelInferRequest.FromString(joined(message, RAW_INPUTS, raw))
    assert (found.model_name, found.id, list(found.raw_input_contents)) == (name, "7", raw)


@given(st.text(max_size=300), RAW, st.binary(max_size=20))
def test_parted_finds_what_protobuf_wrote(name: str, raw: list[bytes], unknown: bytes) -> None:
    """The raw contents come out as they were, the rest stays, and a field that nobody knows does no harm."""
    message = wire.ModelInferResponse(model_name=name, raw_output_contents=raw)
    message.parameters["a"].double_param = 1.5
    strange = wire.InferTensorContents(bytes_contents=[unknown], fp64_contents=[1.0])
    head, found = parted(message.SerializeToString() + _moved(strange), RAW_OUTPUTS)
    assert [bytes(piece) for piece in found] == raw
    rest = wire.ModelInferResponse.FromString(head)
    assert (rest.model_name, rest.parameters["a"].double_param, len(rest.raw_output_contents)) == (name, 1.5, 0)


def _moved(message: wire.InferTensorContents) -> bytes:
    """Return fields that ModelInferResponse does not have: numbers 7 and 8."""
    return message.SerializeToString()


@given(ARRAYS)
def test_both_ways_of_writing_are_one(arrays: Arrays) -> None:
    """Whoever reads a message cannot tell whether it was large."""
    request, response = wire.ModelInferRequest(id="1"), wire.ModelInferResponse(id="1")
    write_inputs(request, arrays)
    write_outputs(response, arrays, raw=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_messages, "LARGE_BYTES", 0)
        assert request_bytes(wire.ModelInferRequest(id="1"), arrays) == request.SerializeToString()
        assert response_bytes(wire.ModelInferResponse(id="1"), arrays) == response.SerializeToString()
        for read, data in ((read_request, request), (read_response, response)):
            message, raw = read(data.SerializeToString())
            _expect(message, raw, arrays)


def _expect(message: Any, raw: Sequence[bytes | memoryview], arrays: Arrays) -> None:
    tensors = message.inputs if isinstance(message, wire.ModelInferRequest) else message.outputs
    found = read_tensors(tensors, raw)
    assert list(found) == list(arrays)
    assert all(same(found[name], array) for name, array in arrays.items())


def test_a_request_has_so_many_fields() -> None:
    """A large request of as many tensors and parameters as there may be is read, one with more fields is refused."""
    request = wire.ModelInferRequest(raw_input_contents=[bytes(LARGE_BYTES // MOST_TENSORS)] * MOST_TENSORS)
    for number in range(MOST_TENSORS):
        request.inputs.add(name=f"{number}")
        request.outputs.add(name=f"{number}")
        request.parameters[f"{number}"].bool_param = True
    data = request.SerializeToString()
    message, raw = read_request(data)
    assert (len(message.inputs), len(message.outputs), len(message.parameters), len(raw)) == (MOST_TENSORS,) * 4
    with pytest.raises(InvalidInput, match="send fewer tensors"):
        read_request(data + wire.ModelInferRequest(raw_input_contents=[b""] * 65).SerializeToString())


@given(st.binary(max_size=60))
def test_junk_is_no_message(junk: bytes) -> None:
    """What protobuf refuses is refused here; nothing but DecodeError comes of it."""
    try:
        head, _ = parted(junk, RAW_INPUTS)
        wire.ModelInferRequest.FromString(head)
    except DecodeError:
        return
    assert wire.ModelInferRequest.FromString(junk).raw_input_contents is not None


CUT: list[Callable[[bytes], bytes]] = [
    lambda data: data[:-1],
    lambda data: data + b"\x3a",
    lambda data: data + b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    lambda data: data + b"\x3b",
    lambda data: data + b"\x39\0",
]


@pytest.mark.parametrize("cut", CUT, ids=["short", "no length", "endless length", "group", "short fixed"])
def test_a_large_broken_message_is_refused(cut: Callable[[bytes], bytes]) -> None:
    """A message that ends within a field, and one with a group."""
    whole = wire.ModelInferRequest(raw_input_contents=[b"x" * LARGE_BYTES]).SerializeToString()
    with pytest.raises(DecodeError):
        read_request(cut(whole))
