"""Tensors between numpy and the Open Inference Protocol's protobuf form.

A tensor list crosses the wire either raw (one little-endian, row-major buffer for each tensor) or typed
(one protobuf field for each family of datatypes). BYTES tensors are numpy object arrays of `bytes`; their raw
form puts a 4-byte little-endian length before each element. Source: Open Inference Protocol, "Tensor Data".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from inference_core.errors import InvalidInput, ModelFailed
from inference_pb import open_inference_pb2 as wire

_CODES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BYTES": "O",
}
DTYPES: Mapping[str, np.dtype[Any]] = {name: np.dtype(code) for name, code in _CODES.items()}
DATATYPES: Mapping[np.dtype[Any], str] = {dtype: name for name, dtype in DTYPES.items()}
CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
MAX_DIMENSIONS = 32
MAX_ELEMENTS = 2**48
"""Also with sizes of 0 left out of the product: numpy cannot hold a shape such as [0, 2**62], though it is empty."""
QUOTED_LETTERS = 64
WIRE_INTEGER_BYTES = 4
LENGTH = struct.Struct("<I")

Buffer = bytes | memoryview
Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]
Array = np.ndarray[Any, np.dtype[Any]]
Tensor = wire.ModelInferRequest.InferInputTensor | wire.ModelInferResponse.InferOutputTensor


def datatype_of(array: Array) -> str:
    """Return the protocol's name for an array's dtype.

    Raises ModelFailed where there is none: what a client sends always has one, what a model returns need not.
    """
    name = DATATYPES.get(array.dtype) or DATATYPES.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise ModelFailed(f"Values of numpy type {array.dtype} have no datatype in the Open Inference Protocol.")
    return name


def read_tensors(tensors: Sequence[Tensor], raw: Sequence[Buffer]) -> Arrays:
    """Return named arrays from a message's tensors and its raw contents, which may be empty.

    Raises InvalidInput, naming the tensor, for a duplicate name, an unknown datatype, a shape that does not
    match the data, or raw and typed contents in one message.
    """
    if raw and len(raw) != len(tensors):
        raise InvalidInput(f"raw contents has {len(raw)} entries for {len(tensors)} tensors; send one for each.")
    arrays: Arrays = {}
    for index, tensor in enumerate(tensors):
        if tensor.name in arrays:
            raise InvalidInput(f"Tensor {_quoted(tensor.name)} is given twice.")
        arrays[tensor.name] = _read(tensor, raw[index] if raw else None)
    return arrays


def describe_inputs(request: wire.ModelInferRequest, arrays: Arrays) -> None:
    """Append named arrays to a request without their values."""
    for name, array in arrays.items():
        request.inputs.add(name=name, datatype=datatype_of(array), shape=array.shape)


def describe_outputs(response: wire.ModelInferResponse, arrays: Arrays) -> None:
    """Append named arrays to a response without their values."""
    for name, array in arrays.items():
        response.outputs.add(name=name, datatype=datatype_of(array), shape=array.shape)


def aligned(arrays: Arrays) -> Arrays:
    """Return arrays that lie in memory as a model expects; views of a message may begin at any byte."""
    apart = {name: array.copy() for name, array in arrays.items() if not array.flags.aligned}
    return {**arrays, **apart} if apart else arrays


def write_inputs(request: wire.ModelInferRequest, arrays: Arrays) -> None:
    """Append named arrays to a request, raw."""
    for name, array in arrays.items():
        request.inputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
        request.raw_input_contents.append(to_raw(array))


def write_outputs(response: wire.ModelInferResponse, arrays: Arrays, *, raw: bool) -> None:
    """Append named arrays to a response, raw or, where the datatype has typed contents, typed."""
    for name, array in arrays.items():
        datatype = datatype_of(array)
        tensor = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if raw:
            response.raw_output_contents.append(to_raw(array))
        else:
            _write_typed(tensor.contents, datatype, array)


def to_raw(array: Array) -> bytes:
    """Return an array's raw form; elements of object arrays must be `bytes`."""
    if array.dtype == object:
        return _joined(array)
    return (array if array.dtype in DATATYPES else array.astype(array.dtype.newbyteorder("<"))).tobytes()


def raw_view(array: Array) -> Buffer:
    """Return an array's raw form without a copy, where it lies in memory that way; as `to_raw`."""
    if array.dtype == object:
        return _joined(array)
    little = array if array.dtype in DATATYPES else array.astype(array.dtype.newbyteorder("<"))
    return np.ascontiguousarray(little).reshape(-1).view(np.uint8).data


def from_raw(name: str, datatype: str, shape: Sequence[int], data: Buffer) -> Array:
    """Return the array of a raw buffer, as a view of it; raises InvalidInput where the sizes do not agree."""
    dtype, count = element_count(name, datatype, shape)
    if datatype == "BYTES":
        return object_array(list(_elements(name, data, count)), shape)
    if len(data) != count * dtype.itemsize:
        raise InvalidInput(
            f"Tensor {_quoted(name)}: shape {list(shape)} of {datatype} needs {count * dtype.itemsize} bytes, "
            f"got {len(data)}."
        )
    if datatype == "BOOL" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise InvalidInput(f"Tensor {_quoted(name)}: a BOOL is a byte 0 or 1.")
    return np.frombuffer(data, dtype).reshape(shape)


def _joined(array: Array) -> bytes:
    return b"".join([piece for element in array.flat for piece in (LENGTH.pack(len(element)), element)])


def _read(tensor: Tensor, raw: Buffer | None) -> Array:
    shape = tuple(tensor.shape[: MAX_DIMENSIONS + 1])  # one too many is refused below; a message can have millions
    if raw is None:
        return _read_typed(tensor, shape)
    if tensor.HasField("contents"):
        raise InvalidInput(
            f"Tensor {_quoted(tensor.name)} has typed contents beside raw contents; send one of the two."
        )
    return from_raw(tensor.name, tensor.datatype, shape, raw)


def element_count(name: str, datatype: str, shape: Sequence[int]) -> tuple[np.dtype[Any], int]:
    """Return a datatype's dtype and how many elements a shape has; raises InvalidInput for what nobody can hold."""
    dtype = DTYPES.get(datatype)
    if dtype is None:
        raise InvalidInput(f"Tensor {_quoted(name)}: datatype {_quoted(datatype)} is not one of {', '.join(DTYPES)}.")
    if len(shape) > MAX_DIMENSIONS or min(shape, default=0) < 0:
        raise InvalidInput(
            f"Tensor {_quoted(name)}: a shape has at most {MAX_DIMENSIONS} dimensions, none of them negative."
        )
    count = math.prod(shape)
    if (count or math.prod([max(size, 1) for size in shape])) > MAX_ELEMENTS:
        raise InvalidInput(f"Tensor {_quoted(name)}: the sizes in its shape multiply to more than {MAX_ELEMENTS}.")
    return dtype, count


def _elements(name: str, data: Buffer, count: int) -> Iterator[bytes]:
    position = 0
    for _ in range(count):
        start = position + LENGTH.size
        if start > len(data):
            raise InvalidInput(f"Tensor {_quoted(name)}: the BYTES data ends before its {count} elements do.")
        position = start + LENGTH.unpack_from(data, position)[0]
        if position > len(data):
            raise InvalidInput(f"Tensor {_quoted(name)}: a BYTES element is longer than the data that is left.")
        yield bytes(data[start:position])
    if position != len(data):
        raise InvalidInput(f"Tensor {_quoted(name)}: {len(data) - position} bytes follow the last of {count} elements.")


def object_array(elements: list[bytes], shape: Sequence[int]) -> Array:
    """Return a BYTES tensor of these elements."""
    array = np.empty(len(elements), object)
    array[:] = elements
    return array.reshape(shape)


def _read_typed(tensor: Tensor, shape: tuple[int, ...]) -> Array:
    name, datatype = tensor.name, tensor.datatype
    dtype, count = element_count(name, datatype, shape)
    field = CONTENTS.get(datatype)
    if field is None:
        raise InvalidInput(f"Tensor {_quoted(name)}: {datatype} travels as raw contents only.")
    values = getattr(tensor.contents, field)
    if len(values) != count:
        raise InvalidInput(
            f"Tensor {_quoted(name)}: shape {list(shape)} needs {count} values in {field}, got {len(values)}."
        )
    if datatype == "BYTES":
        return object_array(list(values), shape)
    try:
        # As a buffer of wider integers the field would be cut to a narrow type unnoticed; Python integers overflow.
        return np.array(list(values) if dtype.itemsize < WIRE_INTEGER_BYTES else values, dtype).reshape(shape)
    except OverflowError as error:
        raise InvalidInput(f"Tensor {_quoted(name)}: a value does not fit into {datatype}.") from error


def _quoted(text: str) -> str:
    # The client's own words, short: a status message that outgrows HTTP/2's header limit never arrives.
    return repr(text[:QUOTED_LETTERS])


def _write_typed(contents: wire.InferTensorContents, datatype: str, array: Array) -> None:
    field = CONTENTS.get(datatype)
    if field is None:
        raise InvalidInput(f"{datatype} outputs travel as raw contents only; send the inputs as raw contents too.")
    getattr(contents, field).extend(array.ravel().tolist())
