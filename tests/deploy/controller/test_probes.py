"""A probe over a real Unix socket tells the answers apart."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from deploy.controller.probes import Probe
from deploy.controller.watch import Answer

TIMEOUT = 2.0


@pytest.fixture
async def path() -> AsyncIterator[Path]:
    """Name a socket in a folder that is short enough."""
    with tempfile.TemporaryDirectory(prefix="hub-", dir="/tmp") as folder:
        yield Path(folder) / "inference-0.sock"


async def served(path: Path, servicer: health_aio.HealthServicer | None) -> grpc.aio.Server:
    """Start a server with this health service, or with none."""
    server = grpc.aio.server()
    if servicer is not None:
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    return server


async def test_a_workers_state_is_what_its_health_says(path: Path) -> None:
    """SERVING and NOT_SERVING come through, and a worker that is gone is silent on any machine."""
    servicer = health_aio.HealthServicer()
    server, probe = await served(path, servicer), Probe(path, TIMEOUT)
    for status, answer in (("SERVING", Answer.SERVING), ("NOT_SERVING", Answer.NOT_SERVING)):
        await servicer.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(status))
        assert await probe.ask(os.getpid()) is answer
    await server.stop(None)
    assert await probe.ask(os.getpid()) in {Answer.SILENT, Answer.STARVED}
    await probe.close()


async def test_a_server_that_knows_no_health_is_alive(path: Path) -> None:
    """Any answer of the event loop shows that it runs."""
    server, probe = await served(path, None), Probe(path, TIMEOUT)
    assert await probe.ask(os.getpid()) is Answer.NOT_SERVING
    await probe.close()
    await server.stop(None)
