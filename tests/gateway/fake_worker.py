"""A real gRPC server on a Unix socket whose answers a test decides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from gateway.workers import SERVICE
from inference_core.tensors import Arrays, read_tensors, write_outputs
from inference_pb import open_inference_pb2 as wire
from inference_pb.open_inference_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Answer = Callable[[str, Arrays], Arrays]


def classify(model: str, inputs: Arrays) -> Arrays:
    """Return class 7 with confidence 0.5 and the model's name as label."""
    label = np.array([model.encode()], object)
    return {"class_id": np.array([7], "<i4"), "confidence": np.array([0.5], "<f4"), "label": label}


class FakeWorker(GRPCInferenceServiceServicer):
    """Answers with a function's outputs, or with a status; keeps what it was asked."""

    def __init__(self, answer: Answer = classify) -> None:
        self.answer = answer
        self.status: grpc.StatusCode | None = None
        self.metadata: dict[str, str | bytes] = {}
        self.remaining: float | None = None
        self.inputs: Arrays = {}

    async def ModelInfer(self, request: wire.ModelInferRequest, context: Context) -> wire.ModelInferResponse:
        """Answer as the test decided."""
        self.metadata = dict(context.invocation_metadata() or ())
        self.remaining = context.time_remaining()
        self.inputs = read_tensors(request.inputs, request.raw_input_contents)
        if self.status is not None:
            await context.abort(self.status, "The worker's own sentence.")
        response = wire.ModelInferResponse(model_name=request.model_name, model_version="3")
        write_outputs(response, self.answer(request.model_name, self.inputs), raw=True)
        return response

    async def RepositoryIndex(
        self, request: wire.RepositoryIndexRequest, context: Context
    ) -> wire.RepositoryIndexResponse:
        """List one model that is ready and one that is not."""
        response = wire.RepositoryIndexResponse()
        response.models.add(name="sentiment", version="1", state="READY")
        response.models.add(name="late", version="1", state="LOADING", reason="reading weights")
        return response


@asynccontextmanager
async def serving(worker: FakeWorker, socket: Path) -> AsyncIterator[FakeWorker]:
    """Serve a fake worker on a Unix socket, with health SERVING."""
    server = grpc.aio.server()
    health = health_aio.HealthServicer()
    await health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    add_GRPCInferenceServiceServicer_to_server(worker, server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield worker
    finally:
        await server.stop(None)
