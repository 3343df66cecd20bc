"""Inference over REST without HTTP: a body and the length of its JSON in, buffers out."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.v2 import binary
from gateway.v2.asked import SHARED_MEMORY, Asked, check_offered, flag
from gateway.v2.documents import (
    InferRequest,
    InferResponse,
    ModelMetadata,
    RequestInput,
    RequestOutput,
    ResponseOutput,
)
from gateway.v2.json_tensors import array_of, values_of
from inference_core.errors import InvalidInput
from inference_core.inference import Inference
from inference_core.selection import CLASSIFICATION, Wanted, check_once, wanted
from inference_core.tensors import Array, Arrays, Buffer, datatype_of, raw_view

BINARY, ALL_BINARY = "binary_data", "binary_data_output"
EXAMPLE = '{"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.5]}]}'
LONGEST_REASON = 200
_decoder = msgspec.json.Decoder(InferRequest)
_encoder = msgspec.json.Encoder()


class Asking(msgspec.Struct, frozen=True, gc=False):
    """What a request asks for, and the form of its answer: `is_binary` by output, `all_binary` for any other."""

    asked: Asked
    all_binary: bool
    is_binary: dict[str, bool] = {}


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An answer's parts in order: the JSON, then binary tensors; `json_bytes` is None where there are none."""

    parts: list[Buffer]
    json_bytes: int | None


def read(body: memoryview, json_bytes: int) -> Asking:
    """Return what a request asks for; arrays are views of the body where they are binary.

    Raises InvalidInput or NotOffered.
    """
    request = decoded(_decoder, body[:json_bytes], EXAMPLE)
    all_binary = flag(request.parameters, ALL_BINARY)
    part = binary.BinaryPart(body[json_bytes:])
    inputs: Arrays = {}
    for tensor in request.inputs:
        if tensor.name in inputs:
            raise InvalidInput(f"Tensor {tensor.name!r} is given twice.")
        inputs[tensor.name] = _array(tensor, part)
    part.finish()
    wants = [_wanted(output) for output in request.outputs]
    check_once(wants)
    is_binary = {output.name: flag(output.parameters, BINARY, default=all_binary) for output in request.outputs}
    return Asking(Asked(inputs, wants, request.id, request.parameters), all_binary, is_binary)


def read_only_tensor(body: memoryview, metadata: ModelMetadata) -> Asking:
    """Return what a body without any JSON asks for: every output, binary. Raises InvalidInput."""
    if len(metadata.inputs) != 1:
        raise InvalidInput(f"Model {metadata.name} has {len(metadata.inputs)} inputs; say in JSON which is which.")
    (tensor,) = metadata.inputs
    array = binary.only_tensor(tensor.name, tensor.datatype, tensor.shape, body)
    return Asking(Asked({tensor.name: array}), all_binary=True)


def written(asking: Asking, inference: Inference) -> Answer:
    """Return the answer with an inference's outputs; raises InvalidInput for values that JSON cannot tell."""
    buffers: list[Buffer] = []
    tensors = []
    for name, array in inference.outputs.items():
        binary_buffers = buffers if asking.is_binary.get(name, asking.all_binary) else None
        tensors.append(_written(name, array, binary_buffers))
    head = _encoder.encode(InferResponse(inference.model, inference.version, tensors, asking.asked.id))
    return Answer([head, *buffers], len(head) if buffers else None)


def decoded(decoder: msgspec.json.Decoder[Any], data: Buffer, example: str) -> Any:
    """Return a JSON body as a value; raises InvalidInput."""
    # msgspec reports bad UTF-8 and deep nesting by exceptions that are not its own DecodeError.
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{_short(str(error))}; send JSON such as {example}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"The body is not valid JSON; send JSON such as {example}.") from error


def _array(tensor: RequestInput, part: binary.BinaryPart) -> Array:
    check_offered(tensor.parameters, SHARED_MEMORY)
    return part.array_of(tensor) if binary.SIZE in tensor.parameters else array_of(tensor)


def _wanted(output: RequestOutput) -> Wanted:
    check_offered(output.parameters, SHARED_MEMORY)
    return wanted(output.name, output.parameters.get(CLASSIFICATION, 0))


def _written(name: str, array: Array, buffers: list[Buffer] | None) -> ResponseOutput:
    tensor = ResponseOutput(name, list(array.shape), datatype_of(array))  # type: ignore[arg-type]  # of the same table
    if buffers is None:
        tensor.data = values_of(name, array)
    else:
        buffers.append(raw_view(array))
        tensor.parameters = {binary.SIZE: len(buffers[-1])}
    return tensor


def _short(reason: str) -> str:
    # It repeats the client's own key, which may be as long as a body.
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}..."
