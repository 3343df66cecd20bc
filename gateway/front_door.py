"""The gRPC door of a gateway process: the V2 protocol with reflection and health, from its first call to its last.

All gateway processes listen on the same port (SO_REUSEPORT), and Linux gives each connection to one of them. A process
that leaves says so in its health, takes no new calls after a pause, and lets those end that run.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, cast

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from gateway.front_door_border import Border
from gateway.front_door_servicer import CODECS, FrontDoorServicer
from gateway.observation import Observer
from gateway.workers import Workers
from inference_core.errors import ConfigurationError
from inference_core.names import SERVICE
from inference_core.settings import Settings
from inference_pb.open_inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server

SERVICES = (SERVICE, "grpc.health.v1.Health", reflection.SERVICE_NAME)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
GRACE_SECONDS = 10.0
MOST_STREAMS = 1000
HEAD_BYTES = 64 * 1024
"""What a message may have beside its tensors."""

log = structlog.get_logger()


class FrontDoor(Protocol):
    """A door that opens with its process and closes before it."""

    async def open(self) -> None:
        """Take calls."""

    def leave(self) -> None:
        """Begin to close: the process was told to end."""

    async def close(self) -> None:
        """Wait until the last call has ended, or its grace has."""


class NoFrontDoor:
    """The door of a process that serves HTTP alone."""

    async def open(self) -> None:
        """As `FrontDoor.open`."""

    def leave(self) -> None:
        """As `FrontDoor.leave`."""

    async def close(self) -> None:
        """As `FrontDoor.close`."""


class GrpcDoor:
    """Build it anywhere; `open` it inside the running loop, after every fork."""

    def __init__(self, settings: Settings, servicer: FrontDoorServicer, observer: Observer, workers: Workers) -> None:
        self._settings = settings
        self._servicer = servicer
        self._observer = observer
        self._workers = workers
        self._leaving: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """As `FrontDoor.open`; raises ConfigurationError where the port cannot be had."""
        gateway = self._settings.gateway
        self._health = health_aio.HealthServicer()
        self._server = grpc.aio.server(options=_options(self._settings))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        observed = Border(self._server, self._observer, self._settings.traffic, CODECS)
        border = cast("grpc.aio.Server", observed)
        add_GRPCInferenceServiceServicer_to_server(self._servicer, border)
        reflection.enable_server_reflection(SERVICES, self._server)
        host = f"[{gateway.host}]" if ":" in gateway.host else gateway.host
        try:
            self.port = self._server.add_insecure_port(f"{host}:{gateway.grpc_port}")
        except RuntimeError as error:
            raise ConfigurationError(
                f"Cannot listen on {host}:{gateway.grpc_port} (gateway.grpc_port): is another program using it?"
            ) from error
        await self._tell()
        await self._server.start()
        self._workers.listen(self._changed)
        log.info("serving gRPC", port=self.port)

    def leave(self) -> None:
        """As `FrontDoor.leave`."""
        if self._leaving is None:
            self._leaving = asyncio.get_running_loop().create_task(self._drain())

    async def close(self) -> None:
        """As `FrontDoor.close`."""
        self.leave()
        if self._leaving is not None:
            await self._leaving

    async def _drain(self) -> None:
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(self._settings.inference.drain_pause)
        await self._server.stop(GRACE_SECONDS)

    def _changed(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        status = SERVING if self._workers.any_ready() else NOT_SERVING
        for service in ("", SERVICE):
            await self._health.set(service, status)


def _options(settings: Settings) -> list[tuple[str, Any]]:
    limits = settings.gateway
    return [
        ("grpc.so_reuseport", 1),  # the processes of one gateway share the port
        ("grpc.max_allowed_incoming_connections", limits.max_grpc_connections),
        ("grpc.server_handshake_timeout_ms", round(limits.header_deadline * 1000)),  # for the preface and SETTINGS
        ("grpc.max_receive_message_length", min(limits.max_body_bytes + HEAD_BYTES, 2**31 - 1)),
        ("grpc.max_send_message_length", settings.inference.max_message_bytes),
        ("grpc.max_concurrent_streams", MOST_STREAMS),
        ("grpc.http2.min_ping_interval_without_data_ms", 900),
        ("grpc.http2.max_ping_strikes", 0),
    ]
