"""Asks each worker for its health through the event loop that serves requests."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from deploy.controller.watch import Answer

SILENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
STARVED_SHARE = 0.5
NANOSECONDS = 1e9

OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 250),
)


class Probe:
    """A connection to the worker behind one Unix socket; needs a running event loop."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._channel = grpc.aio.insecure_channel(f"unix:{path}", options=OPTIONS)
        self._check = self._channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        self._timeout = timeout

    async def ask(self, pid: int) -> Answer:
        """Return what the worker with that pid answers within the time-out."""
        before, started = _waited(pid), time.monotonic()
        try:
            answer = await self._check(health_pb2.HealthCheckRequest(), timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            if error.code() not in SILENT:
                return Answer.NOT_SERVING
            share = (_waited(pid) - before) / max(time.monotonic() - started, 1 / NANOSECONDS)
            return Answer.STARVED if share >= STARVED_SHARE else Answer.SILENT
        is_serving = answer.status == health_pb2.HealthCheckResponse.SERVING
        return Answer.SERVING if is_serving else Answer.NOT_SERVING

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


def _waited(pid: int) -> float:
    # Seconds that the event loops at both ends, which are main threads, were ready to run and got no CPU
    # (schedstat, Documentation/scheduler/sched-stats.rst).
    return _run_delay(pid) + _run_delay("self")


def _run_delay(pid: int | str) -> float:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / NANOSECONDS
    except (OSError, IndexError):
        return 0.0
