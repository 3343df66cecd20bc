"""Tensors survive the wire bit for bit, in both of its forms."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import InvalidInput, ModelFailed
from inference_core.tensors import (
    CONTENTS,
    DATATYPES,
    DTYPES,
    Array,
    datatype_of,
    from_raw,
    read_tensors,
    to_raw,
    write_inputs,
    write_outputs,
)
from inference_pb import open_inference_pb2 as wire
from tests.inference_core.strategies import NAMES, any_arrays, arrays, same

EVERY_DATATYPE = pytest.mark.parametrize("datatype", list(DTYPES))
EVERY_TYPED = pytest.mark.parametrize("datatype", list(CONTENTS))


@EVERY_DATATYPE
@given(data=st.data())
def test_raw_form_is_lossless(datatype: str, data: st.DataObject) -> None:
    """Any array of any datatype comes back from its raw form with the same dtype, shape and bits."""
    array = data.draw(arrays(datatype))
    assert same(from_raw("x", datatype, array.shape, to_raw(array)), array)


@EVERY_TYPED
@given(data=st.data())
def test_typed_form_is_lossless(datatype: str, data: st.DataObject) -> None:
    """Any array of a datatype with typed contents comes back from them and from the serialised message."""
    array = data.draw(arrays(datatype).filter(lambda drawn: not _has_signalling_nan(drawn)))
    response = wire.ModelInferResponse()
    write_outputs(response, {"x": array}, raw=False)
    received = wire.ModelInferResponse.FromString(response.SerializeToString())
    assert received.outputs[0].datatype == datatype
    assert not received.raw_output_contents
    assert same(read_tensors(received.outputs, received.raw_output_contents)["x"], array)


@given(st.dictionaries(NAMES, any_arrays(), max_size=4))
def test_a_request_is_lossless(sent: dict[str, Array]) -> None:
    """Named arrays come out of a serialised request under their names, in order."""
    request = wire.ModelInferRequest()
    write_inputs(request, sent)
    received = wire.ModelInferRequest.FromString(request.SerializeToString())
    arrays = read_tensors(received.inputs, received.raw_input_contents)
    assert list(arrays) == list(sent)
    assert all(same(arrays[name], array) for name, array in sent.items())


@given(st.dictionaries(NAMES, any_arrays(), max_size=4))
def test_a_raw_response_is_lossless(sent: dict[str, Array]) -> None:
    """Named arrays come out of a serialised raw response under their names, in order."""
    response = wire.ModelInferResponse()
    write_outputs(response, sent, raw=True)
    received = wire.ModelInferResponse.FromString(response.SerializeToString())
    arrays = read_tensors(received.outputs, received.raw_output_contents)
    assert list(arrays) == list(sent)
    assert all(same(arrays[name], array) for name, array in sent.items())


@given(any_arrays("BYTES"))
def test_raw_form_is_little_endian_and_row_major(array: Array) -> None:
    """An array of the other byte order, or laid out by columns, has the raw form of its plain copy."""
    swapped = np.asfortranarray(array.astype(array.dtype.newbyteorder(">")))
    assert to_raw(swapped) == to_raw(array) == array.astype(array.dtype.newbyteorder("<")).tobytes("C")
    assert datatype_of(swapped) == datatype_of(array)


def test_bytes_have_their_length_before_them() -> None:
    """The raw form of BYTES is each element behind its length in 4 little-endian bytes."""
    array = np.array([b"abc", b"", b"\x00"], object)
    assert to_raw(array) == b"\x03\x00\x00\x00abc\x00\x00\x00\x00\x01\x00\x00\x00\x00"


def test_datatypes_are_the_protocols() -> None:
    """Each datatype has its own dtype, of the size that the protocol gives it."""
    sizes = {"BOOL": 1, "FP16": 2, "FP32": 4, "FP64": 8, "BYTES": 8}
    sizes |= {f"{kind}{bits}": bits // 8 for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)}
    assert {name: dtype.itemsize for name, dtype in DTYPES.items()} == sizes
    assert {DATATYPES[dtype]: dtype for dtype in DTYPES.values()} == DTYPES
    assert DTYPES.keys() - CONTENTS.keys() == {"FP16"}


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "U5", "S5", "V4"])
def test_a_models_own_dtype_is_the_models_failure(dtype: str) -> None:
    """An output whose dtype the protocol does not have is never blamed on the client."""
    with pytest.raises(ModelFailed, match="no datatype in the Open Inference Protocol"):
        datatype_of(np.zeros(1, dtype))


def test_fp16_has_no_typed_form() -> None:
    """A typed answer that cannot be written says how to ask instead."""
    with pytest.raises(InvalidInput, match="send the inputs as raw contents too"):
        write_outputs(wire.ModelInferResponse(), {"x": np.zeros(1, np.float16)}, raw=False)


def test_this_machine_is_little_endian() -> None:
    """Arrays are used as they arrive, which takes a machine of the wire's byte order."""
    assert sys.byteorder == "little"


def _has_signalling_nan(array: Array) -> bool:
    # A conversion between float widths, which a typed FP32 field goes through in Python, quiets these.
    if array.dtype != np.dtype("<f4"):
        return False
    return bool((np.isnan(array) & (array.view("<u4") & 0x400000 == 0)).any())
