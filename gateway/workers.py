"""The gateway's connections to its workers.

Calls go over one channel that balances between the slots, leaves out a worker that is not SERVING or whose event
loop hangs, and repeats a call whose transport was lost. Probes ask each slot by itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from inference_pb import open_inference_pb2 as wire

SERVICE = "inference.GRPCInferenceService"
INFER = f"/{SERVICE}/ModelInfer"
INDEX = f"/{SERVICE}/RepositoryIndex"
PROBE_SECONDS = 1.0

# A "timeout" in methodConfig would fire seconds early (grpc#34547): every call passes its own.
SERVICE_CONFIG = {
    "loadBalancingConfig": [
        {
            "outlier_detection_experimental": {
                "interval": "1s",
                "baseEjectionTime": "5s",
                "maxEjectionTime": "15s",
                "maxEjectionPercent": 50,
                "failurePercentageEjection": {
                    "threshold": 95,  # a hung worker fails all; clients' mistakes count too, but never all
                    "minimumHosts": 2,
                    "requestVolume": 5,
                    "enforcementPercentage": 100,
                },
                "childPolicy": [{"round_robin": {}}],
            }
        }
    ],
    "healthCheckConfig": {"serviceName": SERVICE},
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "waitForReady": True,
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.02s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
}

Infer: TypeAlias = Callable[..., Awaitable[wire.ModelInferResponse]]


class Workers:
    """The slots of one machine; usable between `connect` and `close`."""

    def __init__(self, sockets: Sequence[Path], max_message_bytes: int) -> None:
        self._sockets = [str(socket) for socket in sockets]
        self._options = _options(max_message_bytes)
        self._channel: grpc.aio.Channel
        self._slots: list[grpc.aio.Channel] = []
        self.infer: Infer

    def __len__(self) -> int:
        return len(self._sockets)

    @property
    def target(self) -> str:
        """The address of all slots, in gRPC's form."""
        return "unix:" + ",".join(self._sockets)

    def connect(self) -> None:
        """Create the channels; call it inside the running loop, after every fork."""
        balanced = [*self._options, ("grpc.service_config", json.dumps(SERVICE_CONFIG))]
        self._channel = grpc.aio.insecure_channel(self.target, balanced)
        self._slots = [grpc.aio.insecure_channel(f"unix:{path}", self._options) for path in self._sockets]
        self.infer = self._channel.unary_unary(
            INFER,
            request_serializer=wire.ModelInferRequest.SerializeToString,
            response_deserializer=wire.ModelInferResponse.FromString,
        )

    async def close(self) -> None:
        """Close every channel."""
        await asyncio.gather(self._channel.close(), *(slot.close() for slot in self._slots))

    def is_connected(self) -> bool:
        """Tell whether any worker is ready for calls now."""
        return self._channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

    async def indexes(self) -> list[wire.RepositoryIndexResponse | None]:
        """Ask every slot which models it can run; None for a slot that does not answer within a second."""
        return await asyncio.gather(*(_index(channel) for channel in self._slots))


async def _index(channel: grpc.aio.Channel) -> wire.RepositoryIndexResponse | None:
    ask: Callable[..., Awaitable[wire.RepositoryIndexResponse]] = channel.unary_unary(
        INDEX,
        request_serializer=wire.RepositoryIndexRequest.SerializeToString,
        response_deserializer=wire.RepositoryIndexResponse.FromString,
    )
    try:
        return await ask(wire.RepositoryIndexRequest(), timeout=PROBE_SECONDS)
    except grpc.aio.AioRpcError:
        return None


def _options(max_message_bytes: int) -> list[tuple[str, Any]]:
    return [
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1000),  # in truth the connect timeout
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.per_rpc_retry_buffer_size", max_message_bytes),  # larger calls would silently not be repeated
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.http2.ping_timeout_ms", 500),  # keepalive_timeout_ms is ignored by C-core (grpc#39239)
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
    ]
