"""Whatever a client sends as a tensor, it is read or refused with InvalidInput, and costs no more than it weighs."""

from __future__ import annotations

import math
import struct
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inference_core.errors import InvalidInput
from inference_core.tensors import CONTENTS, DTYPES, Arrays, from_raw, read_tensors
from inference_pb import open_inference_pb2 as wire

LARGEST = 2**63 - 1
SIZES = st.one_of(st.integers(-2, 6), st.sampled_from([LARGEST, -LARGEST - 1, 2**31, 2**32, 2**62]))
SHAPES = st.lists(SIZES, max_size=6)
HOSTILE_SHAPES = [
    [-1],
    [2, -1],
    [-LARGEST - 1],
    [LARGEST, LARGEST],
    [2**62, 4],
    [2**32, 2**32],
    [0, LARGEST],
    [0, 2**62, 2**62],
    [1] * 65,
    [1] * 100_000,
]
BYTES_ALLOWED = 4 * 1024 * 1024


def request_of(datatype: str, shape: Sequence[int], name: str = "x") -> wire.ModelInferRequest:
    """Return a request with one input that has no contents yet."""
    request = wire.ModelInferRequest()
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    return request


def read(request: wire.ModelInferRequest) -> Arrays:
    """Read a request's inputs as the server does."""
    return read_tensors(request.inputs, request.raw_input_contents)


def read_or_refuse(reader: Callable[[], object]) -> None:
    """Run a reader; the only exception it may raise is InvalidInput, and it must stay small."""
    refusal = ""
    tracemalloc.start()
    try:
        reader()
    except InvalidInput as error:
        refusal = error.message
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < BYTES_ALLOWED
    assert len(refusal) < 2000


@given(st.sampled_from([*DTYPES, "", "FP8", "fp32", "O"]), SHAPES, st.binary(max_size=64))
@example("FP32", [0, LARGEST], b"")
@example("BYTES", [LARGEST, LARGEST], b"\0" * 64)
def test_any_raw_buffer_is_read_or_refused(datatype: str, shape: list[int], data: bytes) -> None:
    """No datatype, shape and buffer together raise anything but InvalidInput or take memory that was not sent."""
    read_or_refuse(lambda: from_raw("x", datatype, shape, data))


@given(st.sampled_from([*DTYPES, "", "FP8"]), SHAPES, st.sampled_from(sorted(set(CONTENTS.values()))), st.data())
def test_any_typed_contents_are_read_or_refused(
    datatype: str, shape: list[int], field: str, data: st.DataObject
) -> None:
    """No datatype, shape and typed contents together raise anything but InvalidInput."""
    request = request_of(datatype, shape)
    values = data.draw(st.lists(_values(field), max_size=8))
    getattr(request.inputs[0].contents, field).extend(values)
    read_or_refuse(lambda: read(request))


@given(st.binary(max_size=200))
def test_any_message_is_read_or_refused(data: bytes) -> None:
    """Whatever protobuf takes for a request is read or refused."""
    try:
        request = wire.ModelInferRequest.FromString(data)
    except Exception:  # noqa: BLE001  # protobuf's DecodeError has another module in each implementation
        return
    read_or_refuse(lambda: read(request))


@pytest.mark.parametrize("datatype", ["FP32", "BYTES", "BOOL"])
@pytest.mark.parametrize("shape", HOSTILE_SHAPES, ids=lambda shape: f"{shape[:3]}x{len(shape)}")
def test_a_hostile_shape_is_refused(datatype: str, shape: list[int]) -> None:
    """Negative sizes, products beyond 64 bits and too many dimensions are refused in both forms."""
    raw = request_of(datatype, shape)
    raw.raw_input_contents.append(b"")
    for request in (raw, request_of(datatype, shape)):
        with pytest.raises(InvalidInput, match="'x'"):
            read(request)


@given(
    st.sampled_from([name for name in DTYPES if name != "BYTES"]), st.lists(st.integers(0, 5), max_size=4), st.data()
)
def test_a_buffer_of_another_size_is_refused(datatype: str, shape: list[int], data: st.DataObject) -> None:
    """A raw buffer that is a byte or more off the shape's size is refused, naming the tensor."""
    right = math.prod(shape) * DTYPES[datatype].itemsize
    size = data.draw(st.integers(0, right + 16).filter(lambda drawn: drawn != right))
    with pytest.raises(InvalidInput, match=f"'x'.*needs {right} bytes, got {size}"):
        from_raw("x", datatype, shape, bytes(size))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ends before its 2 elements do"),
        (b"\x01\x00\x00", "ends before its 2 elements do"),
        (b"\x00\x00\x00\x00", "ends before its 2 elements do"),
        (b"\x00\x00\x00\x00\x05\x00\x00\x00abcd", "longer than the data that is left"),
        (b"\xff\xff\xff\xff" * 2, "longer than the data that is left"),
        (b"\x00\x00\x00\x00\x01\x00\x00\x00ab", "1 bytes follow the last of 2 elements"),
    ],
)
def test_lengths_that_lie_are_refused(data: bytes, reason: str) -> None:
    """BYTES that are truncated, too long or followed by more are refused, naming the tensor."""
    with pytest.raises(InvalidInput, match=f"'x'.*{reason}"):
        from_raw("x", "BYTES", [2], data)


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        (f"{kind}{bits}", field, values)
        for bits in (8, 16)
        for kind, field, values in (
            ("INT", "int_contents", (-(2 ** (bits - 1)) - 1, 2 ** (bits - 1), 2**31 - 1, -(2**31))),
            ("UINT", "uint_contents", (2**bits, 2**32 - 1)),
        )
    ],
)
def test_a_typed_integer_out_of_range_is_refused(datatype: str, field: str, values: tuple[int, ...]) -> None:
    """A value that a narrow datatype cannot hold is refused, never wrapped around."""
    for value in values:
        request = request_of(datatype, [2])
        getattr(request.inputs[0].contents, field).extend([0, value])
        with pytest.raises(InvalidInput, match=f"'x'.*does not fit into {datatype}"):
            read(request)


@pytest.mark.parametrize("byte", [2, 0x80, 0xFF])
def test_a_bool_is_one_or_zero(byte: int) -> None:
    """A raw BOOL other than the bytes 0 and 1 is refused, for numpy would compute with it as it is."""
    assert from_raw("x", "BOOL", [2], b"\x00\x01").tolist() == [False, True]
    with pytest.raises(InvalidInput, match="'x'"):
        from_raw("x", "BOOL", [2], struct.pack("2B", 1, byte))


@given(st.text(max_size=8), st.booleans())
def test_a_name_given_twice_is_refused(name: str, raw: bool) -> None:  # noqa: FBT001  # hypothesis passes it by name
    """Two tensors of one name are refused, raw and typed."""
    request = wire.ModelInferRequest()
    for _ in range(2):
        request.inputs.add(name=name, datatype="FP32", shape=[0])
        request.raw_input_contents.extend([b""] * raw)
    with pytest.raises(InvalidInput, match="given twice"):
        read(request)


@pytest.mark.parametrize("values", [[1.0], []])
def test_raw_and_typed_contents_do_not_mix(values: list[float]) -> None:
    """A tensor with typed contents, even empty ones, beside raw contents is refused."""
    request = request_of("FP32", [1])
    request.inputs[0].contents.CopyFrom(wire.InferTensorContents(fp32_contents=values))
    request.raw_input_contents.append(np.float32(1).tobytes())
    with pytest.raises(InvalidInput, match="'x' has typed contents beside raw contents"):
        read(request)


@pytest.mark.parametrize("entries", [1, 3])
def test_raw_contents_come_one_for_each_tensor(entries: int) -> None:
    """Another number of raw entries than tensors is refused."""
    request = request_of("FP32", [0])
    request.inputs.add(name="y", datatype="FP32", shape=[0])
    request.raw_input_contents.extend([b""] * entries)
    with pytest.raises(InvalidInput, match=f"{entries} entries for 2 tensors"):
        read(request)


def test_fp16_must_be_raw() -> None:
    """FP16 without raw contents is refused with the form it must have."""
    with pytest.raises(InvalidInput, match="'x': FP16 travels as raw contents only"):
        read(request_of("FP16", [1]))


@pytest.mark.parametrize("letter", ["x", "\0", "\N{PILE OF POO}"])
def test_a_sentence_stays_short_whatever_it_quotes(letter: str) -> None:
    """A name or datatype of a megabyte is cut where it is quoted, so that the status message still arrives."""
    name = letter * 1_000_000
    for datatype in ("FP32", "FP16", "BYTES", name):
        request = request_of(datatype, [3], name)
        with pytest.raises(InvalidInput) as caught:
            read(request)
        assert len(caught.value.message.encode()) < 2000


def _values(field: str) -> st.SearchStrategy[Any]:
    strategies: dict[str, st.SearchStrategy[Any]] = {
        "bool_contents": st.booleans(),
        "int_contents": st.integers(-(2**31), 2**31 - 1),
        "int64_contents": st.integers(-(2**63), 2**63 - 1),
        "uint_contents": st.integers(0, 2**32 - 1),
        "uint64_contents": st.integers(0, 2**64 - 1),
        "fp32_contents": st.floats(width=32),
        "fp64_contents": st.floats(),
        "bytes_contents": st.binary(max_size=8),
    }
    return strategies[field]
