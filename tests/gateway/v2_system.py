"""The gateway's application over two fake workers that also describe their models, count, load and unload."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import msgspec
from falcon.testing import ASGIConductor

from deploy.trial import free_ports
from gateway.app import create_app
from inference_core.settings import Settings
from inference_core.tensors import Arrays
from inference_pb import open_inference_pb2 as wire
from tests.gateway.fake_worker import Context, FakeWorker, Running, serving
from tests.waiting import eventually_answers

LIMIT = 100_000
SIGNATURE = {"embedder": ("FP32", [-1, -1]), "tiny": ("FP32", [-1, 2, 2]), "texts": ("BYTES", [-1])}


def reflect(_: str, inputs: Arrays) -> Arrays:
    """Return the inputs as outputs."""
    return inputs


@dataclass
class DescribingWorker(FakeWorker):
    """Answers about its models as `SIGNATURE` has them; `done` has what it loaded and unloaded."""

    rows: int = 1
    done: list[str] = field(default_factory=list)
    refusing: tuple[grpc.StatusCode, str] | None = None

    async def ModelMetadata(self, request: wire.ModelMetadataRequest, context: Context) -> wire.ModelMetadataResponse:
        """Describe a model."""
        if request.name not in SIGNATURE or request.version not in {"", "1"}:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"There is no {request.name}.")
        datatype, shape = SIGNATURE[request.name]
        response = wire.ModelMetadataResponse(name=request.name, versions=["1"], platform="fake")
        response.inputs.add(name="x", datatype=datatype, shape=shape)
        return response

    async def ModelStatistics(
        self, request: wire.ModelStatisticsRequest, context: Context
    ) -> wire.ModelStatisticsResponse:
        """Say that so many rows were computed in one batch."""
        if request.name not in {"", "tiny"}:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such model.")
        spent = wire.StatisticDuration(count=1, ns=self.rows * 1000)
        response = wire.ModelStatisticsResponse()
        found = response.model_stats.add(
            name="tiny", version="1", last_inference=self.rows, inference_count=self.rows, execution_count=1
        )
        found.inference_stats.success.CopyFrom(spent)
        found.batch_stats.add(batch_size=self.rows, compute_infer=spent)
        found.memory_usage.add(type="CPU", byte_size=10)
        return response

    async def RepositoryModelLoad(
        self, request: wire.RepositoryModelLoadRequest, context: Context
    ) -> wire.RepositoryModelLoadResponse:
        """Load."""
        await self._refuse_control(context)
        self.done.append(f"load {request.model_name}")
        return wire.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: wire.RepositoryModelUnloadRequest, context: Context
    ) -> wire.RepositoryModelUnloadResponse:
        """Unload."""
        await self._refuse_control(context)
        self.done.append(f"unload {request.model_name}")
        return wire.RepositoryModelUnloadResponse()

    async def _refuse_control(self, context: Context) -> None:
        if self.refusing is not None:
            await context.abort(*self.refusing)


@dataclass
class Hub:
    """The application, its workers, and a client of each door."""

    client: ASGIConductor
    workers: list[DescribingWorker]
    running: list[Running]
    channel: grpc.aio.Channel

    async def post(self, path: str, body: object = b"", **headers: str) -> Any:
        """Post a body, given as bytes or as what JSON makes of it, without a Content-Type."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.simulate_post(path, body=data, headers=named)

    async def get(self, path: str) -> Any:
        """Get a page."""
        return await self.client.simulate_get(path)

    async def call(self, method: str, request: Any, response: Any, **more: Any) -> Any:
        """Call a method of the gRPC door."""
        path = f"/inference.GRPCInferenceService/{method}"
        return await self.channel.unary_unary(path, type(request).SerializeToString, response.FromString)(
            request, timeout=5, **more
        )


@asynccontextmanager
async def hub(folder: Path, workers: int = 2, **limits: object) -> AsyncIterator[Hub]:
    """Serve both doors; everything ends with the test."""
    document = {
        "gateway": {"max_body_bytes": LIMIT, "deadline": 2.0, "grpc_port": free_ports(1)[0], **limits},
        "inference": {"workers": workers, "drain_pause": 0.0},
        "telemetry": {"otlp_endpoint": ""},
        "layout": {"run_folder": str(folder)},
    }
    settings = msgspec.convert(document, Settings)
    fakes = [DescribingWorker(answer=reflect, rows=number + 1) for number in range(workers)]
    for fake in fakes:
        fake.models = {"tiny": 64, "embedder": 64, "texts": 64}
    async with AsyncExitStack() as stack:
        running = [
            await stack.enter_async_context(serving(fake, settings.worker_socket(slot)))
            for slot, fake in enumerate(fakes)
        ]
        client = await stack.enter_async_context(ASGIConductor(create_app(settings, serves_grpc=True)))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{settings.gateway.grpc_port}"))
        found = Hub(client, fakes, running, channel)
        await eventually_answers(lambda: _all_ready(found), "the workers")
        yield found


async def _all_ready(found: Hub) -> bool:
    indexes = (await found.get("/ready")).json["models"].get("tiny", [])
    health = await found.get("/v2/health/ready")
    return len(indexes) == len(found.workers) and bool(health.status_code == httpx.codes.OK)
