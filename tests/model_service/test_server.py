"""A worker's life: not serving, serving, draining; and no address that somebody else has."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from inference_core.errors import ConfigurationError
from inference_core.settings import Inference
from inference_pb import open_inference_pb2 as wire
from model_service.server import NOT_SERVING, SERVICES, SERVING, build_server, drain
from tests.model_service.worker import (
    SETTINGS,
    Gate,
    Worker,
    end_of,
    infer_request,
    loaded,
    running_worker,
    starting_worker,
    until,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder whose sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="hub-") as name:
        yield Path(name)


def server_on(*addresses: str, settings: Inference = SETTINGS) -> grpc.aio.Server:
    """Build a server without services of its own."""
    return build_server(settings, addresses, [])


async def health_of(worker: Worker, service: str) -> int:
    """Return the health of a service."""
    answer = await worker.probe.Check(health_pb2.HealthCheckRequest(service=service))
    return int(answer.status)


async def test_health_follows_the_workers_life() -> None:
    """The server and each of its services are NOT_SERVING, then SERVING, then NOT_SERVING for good."""
    names = ("", *SERVICES)
    async with starting_worker(loaded("m")) as worker:
        assert [await health_of(worker, name) for name in names] == [NOT_SERVING] * len(names)
        await worker.health.serving(["m"])
        assert [await health_of(worker, name) for name in (*names, "m")] == [SERVING] * (len(names) + 1)
        await worker.health.draining()
        await worker.health.serving(["m"])
        assert [await health_of(worker, name) for name in (*names, "m")] == [NOT_SERVING] * (len(names) + 1)


async def test_an_unknown_service_has_no_health() -> None:
    """A model that is not there is NOT_FOUND for health as well, also before the models are loaded."""
    async with starting_worker(loaded("m")) as worker:
        for name in ("m", "nobody"):
            status, _ = await end_of(worker.probe.Check(health_pb2.HealthCheckRequest(service=name)))
            assert status is StatusCode.NOT_FOUND


async def test_reflection_lists_every_service() -> None:
    """A client that knows nothing learns the services, and the messages of each, from the worker."""
    async with running_worker() as worker:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast("grpc.Channel", worker.channel))
        message: Any = reflection_pb2.ServerReflectionRequest
        asked = [message(list_services=""), *(message(file_containing_symbol=name) for name in SERVICES)]
        answers = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]
    assert {service.name for service in answers[0].list_services_response.service} == set(SERVICES)
    assert [len(answer.file_descriptor_response.file_descriptor_proto) >= 1 for answer in answers[1:]] == [True] * 4


async def test_a_taken_port_is_refused(folder: Path) -> None:
    """A port that another program listens on is refused with the address, whatever else could be bound."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match=f"Cannot listen on {address}"):
            server_on(f"unix:{folder}/worker.sock", address)


async def test_a_workers_port_is_its_own() -> None:
    """A second worker never shares the port of a first one that runs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    first = server_on(address)
    await first.start()
    with pytest.raises(ConfigurationError, match=f"Cannot listen on {address}"):
        server_on(address)
    await first.stop(None)


async def test_a_folder_that_is_not_there_is_refused(folder: Path) -> None:
    """A socket that cannot be made is refused with its path."""
    with pytest.raises(ConfigurationError, match=r"Cannot listen on unix:.*/nowhere/worker\.sock"):
        server_on(f"unix:{folder}/nowhere/worker.sock")


async def test_a_socket_left_behind_is_replaced(folder: Path) -> None:
    """The socket file of a worker that was killed does not keep the next one from starting."""
    path = folder / "worker.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    server = server_on(f"unix:{path}")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        await asyncio.wait_for(channel.channel_ready(), 10)
    await server.stop(None)


async def test_draining_loses_no_call() -> None:
    """Calls that run or wait when the drain begins, and one that comes in its pause, are answered."""
    gate = Gate()
    async with running_worker(loaded("slow", gate), loaded("quick")) as worker:
        sent = [worker.protocol.ModelInfer(infer_request("slow"))]
        await gate.wait_entered()
        sent += [worker.protocol.ModelInfer(infer_request("slow")) for _ in range(19)]
        await until(lambda: worker.engine.rows_waiting("slow") == 19)
        draining = asyncio.create_task(drain([worker.server], worker.health, SETTINGS))
        await until(lambda: not worker.health.ready)
        late = await worker.protocol.ModelInfer(infer_request("quick"))
        gate.leave.set()
        answers = await asyncio.gather(*sent)
        await draining
    assert late.model_name == "quick"
    assert [answer.model_name for answer in answers] == ["slow"] * 20


async def test_a_drained_worker_takes_no_calls() -> None:
    """After the drain a new call ends with UNAVAILABLE, which clients repeat elsewhere."""
    async with running_worker() as worker:
        await worker.protocol.ServerLive(wire.ServerLiveRequest())
        await drain([worker.server], worker.health, SETTINGS)
        status, _ = await end_of(worker.protocol.ServerLive(wire.ServerLiveRequest()))
    assert status is StatusCode.UNAVAILABLE


async def test_a_drain_does_not_wait_for_ever() -> None:
    """A call that runs on past the grace is cancelled, and the drain ends."""
    gate = Gate()
    impatient = Inference(drain_pause=0.0, drain_grace=0.1)
    async with running_worker(loaded("slow", gate)) as worker:
        call = worker.protocol.ModelInfer(infer_request("slow"))
        await gate.wait_entered()
        await asyncio.wait_for(drain([worker.server], worker.health, impatient), 10)
        status, _ = await end_of(call)
        gate.leave.set()
    assert status in {StatusCode.CANCELLED, StatusCode.UNAVAILABLE}
