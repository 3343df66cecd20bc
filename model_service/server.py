"""The worker's life: start order, serving, drain order.

Start: sockets open (health NOT_SERVING), models load and warm up, health SERVING.
Stop: health NOT_SERVING, a pause in which gateways look away and queued calls are taken, no new calls and a grace
for those that run, models closed, spans flushed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from inference_core.deadline import Deadline
from inference_core.errors import ConfigurationError
from inference_core.names import INFER_PATH, SERVICE
from inference_core.settings import Inference
from model_service.hop import HopServer

SERVICES = ("ModelInference", SERVICE, "grpc.health.v1.Health", reflection.SERVICE_NAME)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

log = structlog.get_logger()
Register = Callable[[grpc.aio.Server], None]


def build_server(
    settings: Inference,
    addresses: Iterable[str],
    register: Iterable[Register],
) -> grpc.aio.Server:
    """Return a server bound to the addresses, with reflection; raises ConfigurationError where one is taken."""
    server = grpc.aio.server(options=_options(settings))
    for add in register:
        add(server)
    reflection.enable_server_reflection(SERVICES, server)
    for address in addresses:
        try:
            server.add_insecure_port(address)
        except RuntimeError as error:
            raise ConfigurationError(f"Cannot listen on {address}: is another program using it?") from error
    return server


def build_hop(settings: Inference, register: Iterable[Register]) -> HopServer:
    """Return the server of the slot's own socket for gateways, which answers with the same services."""
    hop = HopServer(INFER_PATH, settings.max_message_bytes)
    for add in register:
        add(cast("grpc.aio.Server", hop))
    return hop


def _options(settings: Inference) -> list[tuple[str, Any]]:
    return [
        ("grpc.so_reuseport", 0),  # on by default, and then two workers share one port unnoticed
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.http2.min_ping_interval_without_data_ms", 900),  # gateways ping every second
        ("grpc.http2.max_ping_strikes", 0),
    ]


@dataclass
class Health:
    """The worker's health service, and whether requests are welcome."""

    servicer: health_aio.HealthServicer
    ready: bool = False
    _told: dict[str, bool] = field(default_factory=dict)

    def register(self, server: grpc.aio.Server) -> None:
        """Add grpc.health.v1.Health to a server."""
        health_pb2_grpc.add_HealthServicer_to_server(self.servicer, server)

    async def starting(self) -> None:
        """Say NOT_SERVING for the server and its services."""
        for service in ("", *SERVICES):
            await self.servicer.set(service, NOT_SERVING)

    async def serving(self, models: Iterable[str]) -> None:
        """Say SERVING for the server, its services and every model by its name."""
        self.ready = True
        for model in models:
            await self.follow(model, is_there=True)
        for service in (*SERVICES, ""):
            await self.servicer.set(service, SERVING)

    async def follow(self, model: str, *, is_there: bool) -> None:
        """Say of a model whether it can be asked, once requests are welcome and where that is news."""
        if self.ready and self._told.get(model, False) is not is_there:
            self._told[model] = is_there
            await self.servicer.set(model, SERVING if is_there else NOT_SERVING)

    async def draining(self) -> None:
        """Say NOT_SERVING for everything, for good."""
        self.ready = False
        await self.servicer.enter_graceful_shutdown()


class Stoppable(Protocol):
    """A server whose calls may end."""

    async def stop(self, grace: float | None) -> None:
        """Take no new calls, and end those that run longer than that, in seconds."""


async def drain(servers: Sequence[Stoppable], health: Health, settings: Inference) -> None:
    """Stop serving without losing a call that was already sent; the servers stop in turn, in one grace for all."""
    log.info("draining")
    await health.draining()
    await asyncio.sleep(settings.drain_pause)
    grace = Deadline.after(settings.drain_grace)
    for server in servers:
        await server.stop(grace.remaining())
