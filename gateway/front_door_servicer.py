"""The V2 protocol over gRPC at the gateway: protobuf to what `gateway.v2` knows, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import TypeAlias

import msgspec

from gateway.door import Door
from gateway.front_door_border import CURRENT, Codec, Context
from gateway.v2.asked import SHARED_MEMORY, Asked, Given, check_offered
from gateway.v2.control import check_repository
from gateway.v2.documents import ServerMetadata
from gateway.v2.inferences import Inferences
from gateway.v2.models import Models
from inference_core.bounds import check_name, check_parameters, check_tensors
from inference_core.deadline import Deadline
from inference_core.errors import Overloaded
from inference_core.heap import Returns
from inference_core.names import INFER
from inference_core.raw_messages import read_request, response_bytes
from inference_core.selection import CLASSIFICATION, Wanted, check_once, wanted
from inference_core.settings import Gateway
from inference_core.tensors import Arrays, Buffer, read_tensors, write_outputs
from inference_pb import open_inference_pb2 as wire
from inference_pb.open_inference_pb2_grpc import GRPCInferenceServiceServicer

Parameters = Mapping[str, wire.InferParameter]
Input: TypeAlias = wire.ModelInferRequest.InferInputTensor
Output: TypeAlias = wire.ModelInferRequest.InferRequestedOutputTensor

HEAVY_BYTES = 4 * 1024 * 1024


class Incoming(msgspec.Struct, frozen=True):
    """A ModelInferRequest of so many bytes; `raw` are its raw contents, views of those bytes where they are large."""

    message: wire.ModelInferRequest
    raw: Sequence[Buffer]
    size: int


class Outgoing(msgspec.Struct, frozen=True):
    """A ModelInferResponse; `outputs` are to follow it raw."""

    message: wire.ModelInferResponse
    outputs: Arrays


def _read(data: bytes) -> Incoming:
    return Incoming(*read_request(data), len(data))


def _written(response: Outgoing) -> bytes:
    return response_bytes(response.message, response.outputs)


CODECS: Mapping[str, Codec] = {INFER: (_read, _written)}


class FrontDoorServicer(GRPCInferenceServiceServicer):
    """Answers for the models of all workers."""

    def __init__(self, models: Models, inferences: Inferences, metadata: ServerMetadata, limits: Gateway) -> None:
        self._models = models
        self._inferences = inferences
        self._metadata = metadata
        self._door = Door(limits)
        self._longest_seconds = limits.deadline
        self._returns = Returns()

    async def ServerLive(self, request: wire.ServerLiveRequest, context: Context) -> wire.ServerLiveResponse:
        """Tell that the event loop turns."""
        return wire.ServerLiveResponse(live=True)

    async def ServerReady(self, request: wire.ServerReadyRequest, context: Context) -> wire.ServerReadyResponse:
        """Tell whether some worker takes work."""
        return wire.ServerReadyResponse(ready=self._models.any_ready())

    async def ModelReady(self, request: wire.ModelReadyRequest, context: Context) -> wire.ModelReadyResponse:
        """Tell whether a model can be asked now; an unknown one is simply not ready."""
        return wire.ModelReadyResponse(ready=self._models.is_ready(request.name, request.version))

    async def ServerMetadata(
        self, request: wire.ServerMetadataRequest, context: Context
    ) -> wire.ServerMetadataResponse:
        """Return name, version and extensions of this server."""
        found = self._metadata
        return wire.ServerMetadataResponse(name=found.name, version=found.version, extensions=found.extensions)

    async def ModelMetadata(self, request: wire.ModelMetadataRequest, context: Context) -> wire.ModelMetadataResponse:
        """Return versions and signature of a model."""
        return await self._models.metadata(request.name, request.version)

    async def ModelConfig(self, request: wire.ModelConfigRequest, context: Context) -> wire.ModelConfigResponse:
        """Return how a model is run."""
        return await self._models.config(request.name, request.version)

    async def ModelStatistics(
        self, request: wire.ModelStatisticsRequest, context: Context
    ) -> wire.ModelStatisticsResponse:
        """Return what was computed, summed over all workers."""
        return await self._models.statistics(request.name, request.version)

    async def RepositoryIndex(
        self, request: wire.RepositoryIndexRequest, context: Context
    ) -> wire.RepositoryIndexResponse:
        """List every version of every model and its state."""
        return wire.RepositoryIndexResponse(models=await self._models.index(only_ready=request.ready))

    async def RepositoryModelLoad(
        self, request: wire.RepositoryModelLoadRequest, context: Context
    ) -> wire.RepositoryModelLoadResponse:
        """Return once every worker has the model."""
        check_repository(request.repository_name)
        await self._models.load(request.model_name, request.parameters)
        return wire.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: wire.RepositoryModelUnloadRequest, context: Context
    ) -> wire.RepositoryModelUnloadResponse:
        """Return once no worker has the model."""
        check_repository(request.repository_name)
        await self._models.unload(request.model_name, request.parameters)
        return wire.RepositoryModelUnloadResponse()

    async def ModelInfer(self, request: Incoming, context: Context) -> Outgoing:  # type: ignore[override]  # see CODECS
        """Run a model on rows; the answer is raw exactly when the request was."""
        message = request.message
        remaining: float | None = context.time_remaining()
        longest = self._longest_seconds
        call = CURRENT.get().predict(Deadline.after(longest if remaining is None else min(remaining, longest)))
        if request.size >= HEAVY_BYTES:
            # gRPC received it in pieces of some kilobytes. Freed, they would stay with the process, and the door turns
            # clients away by what that holds.
            self._returns.note()
        self._check_memory(request.size)
        self._inferences.check(message.model_name, message.model_version, call)
        asked, is_raw = _asked(message, request.raw), bool(request.raw)
        del request
        inference = await self._inferences.answer(message.model_name, message.model_version, asked, call)
        response = wire.ModelInferResponse(model_name=inference.model, model_version=inference.version, id=asked.id)
        if not is_raw:
            write_outputs(response, inference.outputs, raw=False)
        return Outgoing(response, inference.outputs if is_raw else {})

    def _check_memory(self, size: int) -> None:
        refusal = self._door.refusal(size)
        if refusal is not None:
            raise Overloaded(refusal.sentence, "memory")


def _asked(request: wire.ModelInferRequest, raw: Sequence[Buffer]) -> Asked:
    check_tensors(request.inputs, request.outputs)
    check_parameters([request.parameters, *_parameters(request.inputs), *_parameters(request.outputs)])
    for tensor in request.inputs:
        check_name(tensor.name)
        check_offered(_given(tensor.parameters), SHARED_MEMORY)
    inputs = read_tensors(request.inputs, raw)
    wants = [_wanted(output) for output in request.outputs]
    check_once(wants)
    return Asked(inputs, wants, request.id, _given(request.parameters))


def _parameters(tensors: Iterable[Input] | Iterable[Output]) -> Iterator[Sized]:
    return (tensor.parameters for tensor in tensors)


def _wanted(output: Output) -> Wanted:
    check_name(output.name)
    parameters = _given(output.parameters)
    check_offered(parameters, SHARED_MEMORY)
    return wanted(output.name, parameters.get(CLASSIFICATION, 0))


def _given(parameters: Parameters) -> Given:
    chosen = {name: (value, value.WhichOneof("parameter_choice")) for name, value in parameters.items()}
    return {name: getattr(value, choice) for name, (value, choice) in chosen.items() if choice is not None}
