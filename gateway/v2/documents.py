"""The protocol's JSON objects as types: what parses a request also describes it in /openapi.json.

Source: Open Inference Protocol, "Inference", with Triton's extensions binary_tensor_data, classification,
model_repository, parameters and statistics.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from inference_core.tensors import MAX_DIMENSIONS

MOST_TENSORS = 1024
LONGEST_NAME = 256

Parameter = bool | int | float | str
Parameters = dict[str, Parameter]
Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]
Name = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
Size = Annotated[int, Meta(ge=0)]
Shape = Annotated[list[Size], Meta(max_length=MAX_DIMENSIONS)]
Data = Annotated[
    msgspec.Raw,
    Meta(
        description="Numbers, booleans or strings in row-major order, flat or nested like the shape.",
        extra_json_schema={"type": "array", "items": {}},
    ),
]
NO_DATA = msgspec.Raw(b"")


class RequestInput(msgspec.Struct, forbid_unknown_fields=True):
    """An input tensor: its values are in `data`, or `binary_data_size` bytes of them follow the JSON."""

    name: Name
    shape: Shape
    datatype: Datatype
    parameters: Parameters = {}
    data: Data = NO_DATA


class RequestOutput(msgspec.Struct, forbid_unknown_fields=True):
    """An output that is wanted. Parameters: `binary_data` (boolean), `classification` (number of classes)."""

    name: Name
    parameters: Parameters = {}


class InferRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request; without `outputs` it wants all of them.

    Parameters: `binary_data_output` (boolean), `priority` (2 or more gives way to others), `timeout` (microseconds).
    """

    inputs: Annotated[list[RequestInput], Meta(min_length=1, max_length=MOST_TENSORS)]
    outputs: Annotated[list[RequestOutput], Meta(max_length=MOST_TENSORS)] = []
    id: str = ""
    parameters: Parameters = {}


class ResponseOutput(msgspec.Struct, omit_defaults=True):
    """An output tensor: its values are in `data`, or `binary_data_size` bytes of them follow the JSON."""

    name: str
    shape: list[int]
    datatype: Datatype
    parameters: Parameters = {}
    data: list[Any] | UnsetType = UNSET


class InferResponse(msgspec.Struct, omit_defaults=True):
    """A model's answer."""

    model_name: str
    model_version: str
    outputs: list[ResponseOutput]
    id: str = ""


class ServerMetadata(msgspec.Struct):
    """What this server is and which extensions of the protocol it has."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(msgspec.Struct):
    """A tensor of a model's signature; -1 stands for any size, and the first dimension counts rows."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct, omit_defaults=True):
    """A model's versions and signature."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    properties: dict[str, str] = {}


class Live(msgspec.Struct):
    """The protocol answers with the key `live` for both liveness and readiness."""

    live: bool


class ModelReady(msgspec.Struct):
    """Whether a model can be asked now."""

    name: str
    ready: bool


class IndexRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`ready`: leave out what cannot be asked now."""

    ready: bool = False


class IndexEntry(msgspec.Struct):
    """A model's version in the repository; `reason` says why it is not READY."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE", "LOADING", "UNLOADING", "UNKNOWN"]
    reason: str


class RepositoryRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of load and unload, which may be empty. Parameter of unload: `unload_dependents`, without effect."""

    parameters: Parameters = {}


class Failure(msgspec.Struct):
    """Every failed call: a sentence that says what to do."""

    error: str
