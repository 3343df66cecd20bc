"""The Open Inference Protocol over gRPC: protobuf to arrays and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import grpc

from inference_core.bounds import check_tensors
from inference_core.deadline import Deadline
from inference_core.errors import InvalidInput, NoWorker, UnknownModel
from inference_core.members import PARAMETER
from inference_core.names import MODELS_REVISION
from inference_core.raw_messages import is_large
from inference_core.selection import CLASSIFICATION, check_once, selected, wanted
from inference_core.tensors import aligned, read_tensors, write_outputs
from inference_pb import open_inference_pb2 as wire
from inference_pb.open_inference_pb2_grpc import GRPCInferenceServiceServicer
from model_service.call import CURRENT
from model_service.description import ALL, Description, Latest
from model_service.engine import Engine
from model_service.library import Library
from model_service.registry import LoadedModel, Registry, State

SERVER_NAME = "inference-hub"
EXTENSIONS = ("model_configuration", "model_repository", "statistics")
MICROSECONDS = 1_000_000

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def deadline_of(context: Context, default_seconds: float) -> Deadline:
    """Return the call's deadline, or the worker's own for a client that set none."""
    remaining: float | None = context.time_remaining()
    return Deadline.after(default_seconds if remaining is None else min(remaining, default_seconds))


class OpenInferenceServicer(GRPCInferenceServiceServicer):
    """Answers for the models of one registry."""

    def __init__(  # noqa: PLR0913  # what the protocol's three extensions tell of
        self,
        registry: Registry,
        engine: Engine,
        library: Library,
        is_ready: Callable[[], bool],
        *,
        version: str,
        default_deadline: float,
    ) -> None:
        self._registry = registry
        self._engine = engine
        self._library = library
        self._is_ready = is_ready
        self._version = version
        self._default_deadline = default_deadline

    async def ServerLive(self, request: wire.ServerLiveRequest, context: Context) -> wire.ServerLiveResponse:
        """Tell that the event loop turns."""
        return wire.ServerLiveResponse(live=True)

    async def ServerReady(self, request: wire.ServerReadyRequest, context: Context) -> wire.ServerReadyResponse:
        """Tell whether requests are welcome: models loaded, not draining."""
        return wire.ServerReadyResponse(ready=self._is_ready())

    async def ServerMetadata(
        self, request: wire.ServerMetadataRequest, context: Context
    ) -> wire.ServerMetadataResponse:
        """Return name, version and extensions of this server."""
        return wire.ServerMetadataResponse(name=SERVER_NAME, version=self._version, extensions=EXTENSIONS)

    async def ModelReady(self, request: wire.ModelReadyRequest, context: Context) -> wire.ModelReadyResponse:
        """Tell whether a model can be asked now; an unknown one is simply not ready."""
        try:
            self._registry.get(request.name, request.version)
        except (UnknownModel, NoWorker):
            return wire.ModelReadyResponse(ready=False)
        return wire.ModelReadyResponse(ready=self._is_ready())

    async def ModelMetadata(self, request: wire.ModelMetadataRequest, context: Context) -> wire.ModelMetadataResponse:
        """Return versions and signature of a model."""
        model = self._registry.get(request.name, request.version)
        return _metadata(model, self._registry.versions(model.on_disk.name))

    async def ModelConfig(self, request: wire.ModelConfigRequest, context: Context) -> wire.ModelConfigResponse:
        """Return how a model is run: what its model.toml says."""
        config = _config(self._registry.get(request.name, request.version))
        config.parameters["default_version"].string_value = self._registry.get(request.name).on_disk.version
        for label, version in self._registry.labels(request.name).items():
            config.parameters[f"label.{label}"].string_value = version
        for version in self._registry.versions(request.name):
            config.parameters[f"loaded.{version}"].string_value = str(
                self._registry.get(request.name, version).loaded_at
            )
        return wire.ModelConfigResponse(config=config)

    async def RepositoryIndex(
        self, request: wire.RepositoryIndexRequest, context: Context
    ) -> wire.RepositoryIndexResponse:
        """List every version that is known, its state, and why where that is not plain."""
        is_ready = self._is_ready()
        context.set_trailing_metadata(((MODELS_REVISION, f"{self._registry.revision}-{int(is_ready)}"),))
        response = wire.RepositoryIndexResponse()
        for name, version, standing in self._registry.standings():
            state, reason = standing.state, standing.reason
            if state is State.READY and not is_ready:
                state, reason = State.UNAVAILABLE, "the worker is starting or draining"
            if state is State.READY or not request.ready:
                response.models.add(name=name, version=version, state=state, reason=reason)
        return response

    async def RepositoryModelLoad(
        self, request: wire.RepositoryModelLoadRequest, context: Context
    ) -> wire.RepositoryModelLoadResponse:
        """Load a model from the repositories, or what has changed of it; answers when it serves."""
        _check_repository(request.repository_name)
        if request.parameters:
            raise InvalidInput(f"A model is loaded as it is on disk; {_quoted(min(request.parameters))} is not taken.")
        await self._library.load(request.model_name)
        return wire.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: wire.RepositoryModelUnloadRequest, context: Context
    ) -> wire.RepositoryModelUnloadResponse:
        """Take a model out of service; answers when its calls have ended. Nothing here depends on another model."""
        _check_repository(request.repository_name)
        await self._library.unload(request.model_name)
        return wire.RepositoryModelUnloadResponse()

    async def ModelStatistics(
        self, request: wire.ModelStatisticsRequest, context: Context
    ) -> wire.ModelStatisticsResponse:
        """Return what was computed, for one version of a model, for all of them, or for all models."""
        response = wire.ModelStatisticsResponse()
        for model in self._asked(request.name, request.version):
            message = response.model_stats.add(name=model.on_disk.name, version=model.on_disk.version)
            self._engine.statistics(model.on_disk.name, model.on_disk.version).fill(message)
        return response

    def _asked(self, name: str, version: str) -> list[LoadedModel]:
        if version:
            return [self._registry.get(name, version)]
        if name:
            return [self._registry.get(name, each) for each in self._registry.versions(name)]
        return self._registry.all()

    async def ModelInfer(self, request: wire.ModelInferRequest, context: Context) -> wire.ModelInferResponse:
        """Run a model on a batch; the answer is raw exactly when the request was.

        Its parameters say how many microseconds the rows waited here (`queue_us`) and were computed (`compute_us`), and
        when that began on this machine's monotonic clock (`computing_at_us`).
        """
        deadline = deadline_of(context, self._default_deadline)
        check_tensors(request.inputs, request.outputs)
        call = CURRENT.get()
        raw = request.raw_input_contents if call.raw is None else call.raw
        inputs, is_raw, call.raw = aligned(read_tensors(request.inputs, raw)), bool(raw), None
        del raw
        wants = [wanted(output.name, _classes(output)) for output in request.outputs]
        check_once(wants)
        if PARAMETER in request.parameters:
            call.carry(request.parameters[PARAMETER].string_param)
        result = await self._engine.infer(request.model_name, request.model_version, inputs, deadline, call)
        response = wire.ModelInferResponse(model_name=result.model, model_version=result.version, id=request.id)
        if call.computation is not None:
            response.parameters["queue_us"].int64_param = call.computation.queue_microseconds
            response.parameters["compute_us"].int64_param = call.computation.compute_microseconds
            response.parameters["computing_at_us"].int64_param = call.computation.computing_at_microseconds
        outputs = selected(result.model, result.outputs, wants)
        if is_raw and is_large(outputs):
            call.outputs = outputs
        else:
            write_outputs(response, outputs, raw=is_raw)
        return response


def _classes(output: wire.ModelInferRequest.InferRequestedOutputTensor) -> int:
    return output.parameters[CLASSIFICATION].int64_param if CLASSIFICATION in output.parameters else 0


def _check_repository(name: str) -> None:
    if name:
        raise InvalidInput("Leave repository_name empty; a model is taken from the first repository that has it.")


def _quoted(name: str) -> str:
    return repr(name[:64])


def _metadata(model: LoadedModel, versions: list[str]) -> wire.ModelMetadataResponse:
    description = model.on_disk.description
    response = wire.ModelMetadataResponse(name=model.on_disk.name, versions=versions, platform=description.runtime)
    for tensor in description.inputs:
        response.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    for tensor in description.outputs:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    return response


def _config(model: LoadedModel) -> wire.ModelConfig:
    description = model.on_disk.description
    config = wire.ModelConfig(
        name=model.on_disk.name,
        platform=description.runtime,
        backend=description.runtime,
        max_batch_size=description.max_batch_size,
    )
    _set_policy(config.version_policy, description)
    for tensor in description.inputs:
        config.input.add(name=tensor.name, data_type=_config_type(tensor.datatype), dims=tensor.shape[1:])
    for tensor in description.outputs:
        config.output.add(name=tensor.name, data_type=_config_type(tensor.datatype), dims=tensor.shape[1:])
    config.instance_group.add(count=description.instances, kind=wire.ModelInstanceGroup.KIND_CPU)
    config.dynamic_batching.max_queue_delay_microseconds = round(description.max_queue_delay * MICROSECONDS)
    return config


def _set_policy(policy: wire.ModelVersionPolicy, description: Description) -> None:
    if description.versions == ALL:
        policy.all.SetInParent()
    elif isinstance(description.versions, Latest):
        policy.latest.num_versions = description.versions.latest
    else:
        numbers = [str(version) for version in description.versions]
        policy.specific.versions.extend([int(number) for number in numbers if number.isdecimal()])


def _config_type(datatype: str) -> wire.DataType:
    number = wire.DataType.Value("TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}")
    return cast("wire.DataType", number)
