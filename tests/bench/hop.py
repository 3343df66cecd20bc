"""What the hop itself costs: ModelInfer of the tiny model over a Unix socket to a real worker process.

`pytest tests/bench/hop.py` or `make bench-hop`. The client is grpc.aio on uvloop, as in the gateway, with requests made
beforehand, so the figures are the wire, both gRPC ends and the worker's path to its model and back.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import uvloop
from grpc_health.v1 import health_pb2
from pytest_benchmark.fixture import BenchmarkFixture

from deploy.bench.peers.work import FEATURES, MODELS, rows
from deploy.trial import prepared
from inference_core.settings import CHECKOUT, VARIABLE, load
from inference_pb import open_inference_pb2 as wire
from inference_pb import open_inference_pb2_grpc
from tests.waiting import wait_for

WORK = "tiny"
AT_ONCE = 64
CHECK = "/grpc.health.v1.Health/Check"


@dataclass(frozen=True)
class Hop:
    """A client's end: its event loop and its stub."""

    loop: asyncio.AbstractEventLoop
    stub: open_inference_pb2_grpc.GRPCInferenceServiceAsyncStub

    def infer(self, request: wire.ModelInferRequest, calls: int) -> None:
        """Send that many calls at once and wait for all answers."""

        async def ask() -> None:
            await asyncio.gather(*(self.stub.ModelInfer(request, timeout=5) for _ in range(calls)))

        self.loop.run_until_complete(ask())


@pytest.fixture(scope="module")
def worker() -> Iterator[Path]:
    """Start a worker process with default settings and return its socket."""
    with tempfile.TemporaryDirectory(prefix="hop-", dir="/tmp") as folder:
        trial = prepared(Path(folder), {"inference": {"repository": str(MODELS)}})
        trial.run_folder.mkdir()
        socket = load(Path(trial.environment[VARIABLE])).worker_socket(0)
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "model_service", "0"],
                cwd=CHECKOUT,
                env=trial.environment,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(lambda: is_serving(socket), "the worker's start")
            yield socket
        finally:
            process.terminate()
            process.wait(20)


def is_serving(socket: Path) -> bool:
    """Tell whether the model is ready on the worker."""
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        check = channel.unary_unary(
            CHECK, health_pb2.HealthCheckRequest.SerializeToString, health_pb2.HealthCheckResponse.FromString
        )
        try:
            answer: health_pb2.HealthCheckResponse = check(health_pb2.HealthCheckRequest(service=WORK), timeout=1)
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.fixture(scope="module")
def hop(worker: Path) -> Iterator[Hop]:
    """Connect as the gateway does."""
    loop = uvloop.new_event_loop()

    async def connect() -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"unix:{worker}")

    channel = loop.run_until_complete(connect())
    yield Hop(loop, open_inference_pb2_grpc.GRPCInferenceServiceStub(channel))
    loop.run_until_complete(channel.close())
    loop.close()


def request_of(count: int) -> wire.ModelInferRequest:
    """Return a request of that many rows."""
    return wire.ModelInferRequest(
        model_name=WORK,
        inputs=[
            wire.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=[count, FEATURES[WORK]])
        ],
        raw_input_contents=[rows(WORK, count).tobytes()],
    )


def test_one_call_of_one_row(hop: Hop, benchmark: BenchmarkFixture) -> None:
    """The latency that the hop adds to a single request."""
    benchmark(hop.infer, request_of(1), 1)


def test_one_call_of_64_rows(hop: Hop, benchmark: BenchmarkFixture) -> None:
    """What 64 coalesced requests pay together."""
    benchmark(hop.infer, request_of(64), 1)


def test_64_calls_of_one_row(hop: Hop, benchmark: BenchmarkFixture) -> None:
    """What the same 64 requests pay when nothing coalesces them."""
    benchmark(hop.infer, request_of(1), AT_ONCE)
