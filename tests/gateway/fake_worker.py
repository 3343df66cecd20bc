"""Real gRPC servers on Unix sockets whose answers a test decides, behind a line that a test can cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from inference_core.members import PARAMETER, Member, from_text
from inference_core.names import INFER_PATH, SERVICE
from inference_core.tensors import Arrays, read_tensors, write_outputs
from inference_pb import open_inference_pb2 as wire
from inference_pb.open_inference_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)
from model_service.hop import HopServer
from tests.gateway.line import Line

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Answer = Callable[[str, Arrays], Arrays]
Models = dict[str, int | None]

MODELS: Models = {"sentiment": 64, "v1-mock": 64, "other": 1, "embedder": 64, "tiny": 64}
MOST_BYTES = 64 * 1024 * 1024
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def classify(model: str, inputs: Arrays) -> Arrays:
    """Return class 7 with confidence 0.5 and the model's name as label, for each row."""
    rows = next(iter(inputs.values())).shape[0]
    label = np.array([model.encode()] * rows, object)
    return {"class_id": np.full(rows, 7, "<i4"), "confidence": np.full(rows, 0.5, "<f4"), "label": label}


def echo(_: str, inputs: Arrays) -> Arrays:
    """Return each row's first number as its class, so that a row in the wrong answer is seen."""
    first = inputs["features"][:, 0]
    return {"class_id": first.astype("<i4"), "confidence": np.full(len(first), 0.5, "<f4")}


@dataclass
class Asked:
    """One ModelInfer call as it arrived; `ended` tells how: "answered", "failed" or "cancelled"."""

    metadata: dict[str, str | bytes]
    members: list[Member]
    inputs: Arrays
    remaining: float | None
    version: str = ""
    ended: str = ""

    @property
    def alone(self) -> str:
        """The fingerprint of a request that must run alone, empty for others."""
        return str(self.metadata.get("alone", ""))

    @property
    def values(self) -> list[int]:
        """The first number of each row."""
        return [int(value) for value in self.inputs["features"][:, 0]]


async def _at_once(_: Asked) -> None:
    """Hold nothing up."""


@dataclass
class FakeWorker(GRPCInferenceServiceServicer):
    """Answers with a function's outputs, or with a status; keeps what it was asked.

    `before` is awaited in each call; `failing` gives the status for a call, None for an answer. `models` has for each
    model its largest batch, None where the worker knows nothing of ModelConfig; `versions` its versions, "1" where
    nothing is said. A call that names none is answered by version "3".
    `labels` are the versions they stand for; another `loaded` is another model under the same version. A `revision` is
    told with the index, unless it is empty; `configs_asked` counts calls of
    ModelConfig, `indexes_asked` those of RepositoryIndex.
    """

    answer: Answer = classify
    models: Models = field(default_factory=lambda: dict(MODELS))
    versions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    loaded: str = "1"
    revision: str = ""
    configs_asked: int = 0
    indexes_asked: int = 0
    before: Callable[[Asked], Awaitable[None]] = _at_once
    status: grpc.StatusCode | None = None
    reason: str = ""
    failing: Callable[[Asked], grpc.StatusCode | None] = lambda _: None
    calls: list[Asked] = field(default_factory=list)
    busy: int = 0
    busiest: int = 0

    @property
    def last(self) -> Asked:
        """The newest call."""
        return self.calls[-1]

    @property
    def metadata(self) -> dict[str, str | bytes]:
        """The newest call's metadata."""
        return self.last.metadata

    @property
    def inputs(self) -> Arrays:
        """The newest call's inputs."""
        return self.last.inputs

    async def ModelInfer(self, request: wire.ModelInferRequest, context: Context) -> wire.ModelInferResponse:
        """Answer as the test decided."""
        asked = Asked(
            dict(context.invocation_metadata() or ()),
            from_text(request.parameters[PARAMETER].string_param) if PARAMETER in request.parameters else [],
            read_tensors(request.inputs, request.raw_input_contents),
            context.time_remaining(),
            request.model_version,
        )
        self.calls.append(asked)
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        asked.ended = "failed"
        try:
            await self.before(asked)
            await self._refuse(asked, context)
            response = wire.ModelInferResponse(
                model_name=request.model_name, model_version=request.model_version or "3"
            )
            write_outputs(response, self.answer(request.model_name, asked.inputs), raw=True)
            asked.ended = "answered"
        except asyncio.CancelledError:
            asked.ended = "cancelled"
            raise
        finally:
            self.busy -= 1
        return response

    async def ServerLive(self, request: wire.ServerLiveRequest, context: Context) -> wire.ServerLiveResponse:
        """Nobody asks for it here."""
        raise NotImplementedError

    async def ServerReady(self, request: wire.ServerReadyRequest, context: Context) -> wire.ServerReadyResponse:
        """Nobody asks for it here."""
        raise NotImplementedError

    async def ModelReady(self, request: wire.ModelReadyRequest, context: Context) -> wire.ModelReadyResponse:
        """Nobody asks for it here."""
        raise NotImplementedError

    async def ServerMetadata(
        self, request: wire.ServerMetadataRequest, context: Context
    ) -> wire.ServerMetadataResponse:
        """Nobody asks for it here."""
        raise NotImplementedError

    async def ModelMetadata(self, request: wire.ModelMetadataRequest, context: Context) -> wire.ModelMetadataResponse:
        """Nobody asks for it here."""
        raise NotImplementedError

    async def ModelStatistics(
        self, request: wire.ModelStatisticsRequest, context: Context
    ) -> wire.ModelStatisticsResponse:
        """Nobody asks for it here."""
        raise NotImplementedError

    async def RepositoryModelLoad(
        self, request: wire.RepositoryModelLoadRequest, context: Context
    ) -> wire.RepositoryModelLoadResponse:
        """Nobody asks for it here."""
        raise NotImplementedError

    async def RepositoryModelUnload(
        self, request: wire.RepositoryModelUnloadRequest, context: Context
    ) -> wire.RepositoryModelUnloadResponse:
        """Nobody asks for it here."""
        raise NotImplementedError

    async def _refuse(self, asked: Asked, context: Context) -> None:
        status = self.status or self.failing(asked)
        if status is not None:
            trailing = (("reason", self.reason),) if self.reason else ()
            await context.abort(status, "The worker's own sentence.", trailing)

    async def ModelConfig(self, request: wire.ModelConfigRequest, context: Context) -> wire.ModelConfigResponse:
        """Tell the largest batch of a model."""
        self.configs_asked += 1
        most = self.models.get(request.name)
        if most is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "No such method.")
        config = wire.ModelConfig(name=request.name, max_batch_size=most)
        for label, version in self.labels.get(request.name, {}).items():
            config.parameters[f"label.{label}"].string_value = version
        config.parameters["loaded.1"].string_value = self.loaded
        return wire.ModelConfigResponse(config=config)

    async def RepositoryIndex(
        self, request: wire.RepositoryIndexRequest, context: Context
    ) -> wire.RepositoryIndexResponse:
        """List the models that are ready, and one that is not."""
        self.indexes_asked += 1
        if self.revision:
            context.set_trailing_metadata((("models-revision", self.revision),))
        response = wire.RepositoryIndexResponse()
        for name in self.models:
            for version in self.versions.get(name, ("1",)):
                response.models.add(name=name, version=version, state="READY")
        response.models.add(name="late", version="1", state="LOADING", reason="reading weights")
        return response


class Running:
    """A fake worker that serves, with its health and the line to it; a foreign one takes batches over gRPC's alone."""

    def __init__(self, worker: FakeWorker, socket: Path, *, is_foreign: bool) -> None:
        self.worker = worker
        self.socket = socket
        backs = {front: front.with_name(f"{front.name}.back") for front in (socket, socket.with_suffix(".hop"))}
        self._back, self._hop_back = backs.values()
        self.line = Line({socket: self._back} if is_foreign else backs)
        self._health = health_aio.HealthServicer()
        self._server = grpc.aio.server()
        self.hop = HopServer(INFER_PATH, MOST_BYTES)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        add_GRPCInferenceServiceServicer_to_server(worker, self._server)
        add_GRPCInferenceServiceServicer_to_server(worker, cast("grpc.aio.Server", self.hop))
        self._server.add_insecure_port(f"unix:{self._back}")

    async def start(self, *, healthy: bool = True) -> None:
        """Serve."""
        await self.tell(healthy=healthy)
        await self._server.start()
        await self.hop.open(self._hop_back)
        await self.line.open()

    async def tell(self, *, healthy: bool) -> None:
        """Set the health."""
        await self._health.set(SERVICE, SERVING if healthy else NOT_SERVING)

    async def stop(self) -> None:
        """End."""
        await self.line.close()
        await self.hop.stop(0)
        await self._server.stop(None)


@asynccontextmanager
async def serving(
    worker: FakeWorker, socket: Path, *, healthy: bool = True, is_foreign: bool = False
) -> AsyncIterator[Running]:
    """Serve a fake worker on a Unix socket."""
    running = Running(worker, socket, is_foreign=is_foreign)
    await running.start(healthy=healthy)
    try:
        yield running
    finally:
        await running.stop()
