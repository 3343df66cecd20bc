"""What the hop itself costs: ModelInfer of the tiny model over a Unix socket to a real worker process.

`pytest tests/bench/hop.py` or `make bench-hop`. The clients are the gateway's end of the hop and, beside it, grpc.aio,
both on uvloop with requests made beforehand: the figures are the wire, both ends and the way to the model and back.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop
from grpc_health.v1 import health_pb2
from pytest_benchmark.fixture import BenchmarkFixture

from deploy.bench.peers.work import FEATURES, MODELS, rows
from deploy.trial import prepared
from gateway.hop import Hop, HopCall
from inference_core.names import INFER_PATH
from inference_core.settings import CHECKOUT, VARIABLE, load
from inference_core.tensors import Buffer
from inference_pb import open_inference_pb2 as wire
from tests.waiting import wait_for

WORK = "tiny"
AT_ONCE = 64
SECONDS = 5.0
MOST_BYTES = 64 * 1024 * 1024
CHECK = "/grpc.health.v1.Health/Check"


@dataclass(frozen=True)
class Way:
    """A client's end: its event loop, and how it begins a call."""

    loop: asyncio.AbstractEventLoop
    call: Callable[[bytes], Awaitable[Any]]

    def infer(self, request: bytes, calls: int) -> None:
        """Send that many calls at once and wait for all answers."""

        async def ask() -> None:
            await asyncio.gather(*(self.call(request) for _ in range(calls)))

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


@pytest.fixture(scope="module", params=["hop", "grpc.aio"])
def way(worker: Path, request: pytest.FixtureRequest) -> Iterator[Way]:
    """Connect as the gateway does, and as gRPC for Python does."""
    loop = uvloop.new_event_loop()
    if request.param == "hop":
        hop = Hop(worker.with_suffix(".hop"), INFER_PATH, MOST_BYTES)
        loop.run_until_complete(hop.open(SECONDS))
        connection = hop.connection
        assert connection is not None
        yield Way(loop, lambda data: as_coroutine(connection.call(data, SECONDS, ())))
        hop.close()
        loop.run_until_complete(asyncio.sleep(0))
    else:

        async def connect() -> grpc.aio.Channel:
            return grpc.aio.insecure_channel(f"unix:{worker}")

        channel = loop.run_until_complete(connect())
        method: Any = channel.unary_unary(INFER_PATH)
        yield Way(loop, lambda data: method(data, timeout=SECONDS))
        loop.run_until_complete(channel.close())
    loop.close()


async def as_coroutine(call: HopCall) -> Buffer:
    """Await a call, which `gather` takes only as a coroutine."""
    return await call


def request_of(count: int) -> bytes:
    """Return a request of that many rows."""
    request = wire.ModelInferRequest(
        model_name=WORK,
        inputs=[
            wire.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=[count, FEATURES[WORK]])
        ],
        raw_input_contents=[rows(WORK, count).tobytes()],
    )
    return request.SerializeToString()


def test_one_call_of_one_row(way: Way, benchmark: BenchmarkFixture) -> None:
    """The latency that the hop adds to a single request."""
    benchmark(way.infer, request_of(1), 1)


def test_one_call_of_64_rows(way: Way, benchmark: BenchmarkFixture) -> None:
    """What 64 coalesced requests pay together."""
    benchmark(way.infer, request_of(64), 1)


def test_64_calls_of_one_row(way: Way, benchmark: BenchmarkFixture) -> None:
    """What the same 64 requests pay when nothing coalesces them."""
    benchmark(way.infer, request_of(1), AT_ONCE)
