"""Large tensors on the wire without a copy in protobuf: raw contents are put behind a message, and taken out of one.

Raw contents are `repeated bytes` fields at the top of ModelInferRequest and ModelInferResponse. protobuf copies them
into a message of its own, once more when it writes that, and again for who reads one; for tensors of many megabytes
that is most of the time and memory. Source: protobuf's wire format (varint, tag, length-delimited).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from inference_core.bounds import MOST_FIELDS
from inference_core.errors import InvalidInput
from inference_core.tensors import Arrays, Buffer, describe_inputs, describe_outputs, raw_view, write_inputs
from inference_pb import open_inference_pb2 as wire

LARGE_BYTES = 64 * 1024
"""What is smaller is left to protobuf, whose own code is quicker than ours then."""

RAW_INPUTS = wire.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
RAW_OUTPUTS = wire.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER
VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5
FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
MOST_SHIFT = 63
LOW_BITS, MORE = 0x7F, 0x80

M = TypeVar("M", bound=Message)


def is_large(arrays: Arrays) -> bool:
    """Tell whether arrays are large enough for this."""
    return sum([array.nbytes for array in arrays.values()]) >= LARGE_BYTES


def request_bytes(request: wire.ModelInferRequest, inputs: Arrays) -> bytes:
    """Return the wire form of a request with these inputs, raw."""
    if not is_large(inputs):
        write_inputs(request, inputs)
        return request.SerializeToString()
    describe_inputs(request, inputs)
    return joined(request, RAW_INPUTS, [raw_view(array) for array in inputs.values()])


def response_bytes(response: wire.ModelInferResponse, outputs: Arrays) -> bytes:
    """Return the wire form of a response with these outputs, raw."""
    describe_outputs(response, outputs)
    return joined(response, RAW_OUTPUTS, [raw_view(array) for array in outputs.values()])


def read_request(data: Buffer) -> tuple[wire.ModelInferRequest, Sequence[Buffer]]:
    """Return a request and its raw contents, views of the data where that is large.

    Raises DecodeError, and InvalidInput for more fields than a request has.
    """
    message, raw = _read(wire.ModelInferRequest, data, RAW_INPUTS, MOST_FIELDS)
    return message, message.raw_input_contents if raw is None else raw


def read_response(data: Buffer) -> tuple[wire.ModelInferResponse, Sequence[Buffer]]:
    """Return a response and its raw contents, views of the data where that is large; raises DecodeError."""
    message, raw = _read(wire.ModelInferResponse, data, RAW_OUTPUTS, sys.maxsize)
    return message, message.raw_output_contents if raw is None else raw


def joined(message: Message, field: int, raw: Sequence[Buffer]) -> bytes:
    """Return the wire form of a message with these raw contents in that field: they are copied once."""
    parts: list[Buffer] = [message.SerializeToString()]
    tag = _varint(field << 3 | DELIMITED)
    for piece in raw:
        parts += (tag + _varint(len(piece)), piece)
    return b"".join(parts)


def parted(data: Buffer, field: int, most_fields: int = sys.maxsize) -> tuple[bytes, list[memoryview]]:
    """Return a message's wire form without a field of raw contents, and those as views; raises as `read_request`."""
    view, position, kept, fields = memoryview(data), 0, 0, 0
    rest: list[memoryview] = []
    raw: list[memoryview] = []
    while position < len(data):
        fields += 1
        if fields > most_fields:
            raise InvalidInput(f"The message has more than {most_fields} fields; send fewer tensors and parameters.")
        tag, after = _read_varint(data, position)
        start, end = _extent(data, tag, after)
        if tag == field << 3 | DELIMITED:
            rest.append(view[kept:position])
            raw.append(view[start:end])
            kept = end
        position = end
    rest.append(view[kept:])
    return b"".join(rest), raw


def _read(kind: type[M], data: Buffer, field: int, most_fields: int) -> tuple[M, list[memoryview] | None]:
    if len(data) < LARGE_BYTES:
        return kind.FromString(bytes(data)), None
    head, raw = parted(data, field, most_fields)
    return kind.FromString(head), raw


def _extent(data: Buffer, tag: int, position: int) -> tuple[int, int]:
    """Return where a field's value starts and ends."""
    kind = tag & 7
    if kind == DELIMITED:
        size, position = _read_varint(data, position)
        end = position + size
    elif kind == VARINT:
        _, end = _read_varint(data, position)
    elif kind in FIXED_BYTES:
        end = position + FIXED_BYTES[kind]
    else:
        raise DecodeError("a group, which no message here has")
    if end > len(data):
        raise DecodeError("the message ends before a field does")
    return position, end


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > LOW_BITS:
        groups.append(number & LOW_BITS | MORE)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _read_varint(data: Buffer, position: int) -> tuple[int, int]:
    number = shift = 0
    while position < len(data) and shift <= MOST_SHIFT:
        byte = data[position]
        position += 1
        number |= (byte & LOW_BITS) << shift
        if byte < MORE:
            return number, position
        shift += 7
    raise DecodeError("a number without an end")
