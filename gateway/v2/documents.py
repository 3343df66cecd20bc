"""The protocol's JSON objects as types: what parses a request also describes it in /openapi.json.

Source: Open Inference Protocol, "Inference", with Triton's extensions binary_tensor_data, classification,
model_repository, parameters and statistics.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from inference_core.bounds import LONGEST_NAME, MOST_PARAMETERS, MOST_TENSORS
from inference_core.tensors import MAX_DIMENSIONS

Parameter = bool | int | float | str
Parameters = Annotated[dict[str, Parameter], Meta(max_length=MOST_PARAMETERS)]
Whole = Annotated[float, Meta(multiple_of=1, ge=-(2**62), le=2**62)]
"""A whole number that is written with a point or an exponent, as JSON Schema's integers may be."""

RepositoryParameter = bool | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Whole | str
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


class RequestInput(msgspec.Struct, forbid_unknown_fields=True):
    """An input tensor: its values are in `data`, or `binary_data_size` bytes of them follow the JSON."""

    name: Name
    shape: Shape
    datatype: Datatype
    parameters: Parameters = {}
    data: Data | UnsetType = UNSET


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


class UnloadRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of unload, which may be empty. `unload_dependents` has no effect: no model depends on another."""

    parameters: dict[str, RepositoryParameter] = {}


class LoadRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of load, which may be empty: a model is loaded as it is on disk, and no parameter changes that."""

    parameters: Annotated[dict[str, RepositoryParameter], Meta(extra_json_schema={"maxProperties": 0})] = {}


class Failure(msgspec.Struct):
    """Every failed call: a sentence that says what to do."""

    error: str


class ModelConfig(msgspec.Struct):
    """How a model is run, under the names of Triton's model configuration; it has more keys than these."""

    name: str
    platform: str
    backend: str
    max_batch_size: int


class Duration(msgspec.Struct):
    """How often something was done, and for how many nanoseconds in all."""

    count: int
    ns: int


class InferStatistics(msgspec.Struct):
    """Times of requests by their end and stage."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration


class BatchStatistics(msgspec.Struct):
    """Times of batches of one size, in rows."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class MemoryUsage(msgspec.Struct):
    """Bytes that a version of a model holds."""

    type: str
    id: int
    byte_size: int


class ModelStatistics(msgspec.Struct):
    """What a version of a model computed: rows (`inference_count`) and batches; `last_inference` in ms since 1970."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferStatistics
    batch_stats: list[BatchStatistics]
    memory_usage: list[MemoryUsage]


class Statistics(msgspec.Struct):
    """Statistics of one model or of all, summed over the workers."""

    model_stats: list[ModelStatistics]
