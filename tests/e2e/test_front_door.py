"""The gateway's gRPC port, as supervisord runs it: shared by all processes, and never without one that answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np

from inference_core.tensors import write_inputs
from inference_pb import open_inference_pb2 as wire
from tests.e2e.system import System
from tests.waiting import wait_for

SERVICE_CONFIG = Path(__file__).parents[2] / "proto" / "service_config.json"
CLIENTS = 4
ENOUGH = 20


@dataclass
class Calls:
    """What clients got so far."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)

    def wait(self) -> None:
        """Wait for some more answers."""
        enough = self.answered + ENOUGH
        wait_for(lambda: self.answered > enough, "more answers")


@contextmanager
def calling(port: int) -> Iterator[Calls]:
    """Ask without a pause from several connections, each with the service config that the README names."""
    calls, stop = Calls(), threading.Event()
    request = wire.ModelInferRequest(model_name="v1-mock")
    write_inputs(request, {"features": np.ones((1, 3), np.float32)})

    def ask() -> None:
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_reconnect_backoff_ms", 200),
            ("grpc.service_config", SERVICE_CONFIG.read_text()),
        ]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            infer = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer",
                wire.ModelInferRequest.SerializeToString,
                wire.ModelInferResponse.FromString,
            )
            while not stop.is_set():
                try:
                    infer(request, timeout=5)
                    calls.answered += 1
                except grpc.RpcError as error:
                    calls.failed.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield calls
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_members_restart_one_after_the_other_without_a_failed_call(system: System) -> None:
    """While one gateway process leaves and comes back, the other answers, and running calls end first."""
    with calling(system.front_port) as calls:
        calls.wait()
        for member in ("gateway-0", "gateway-1"):
            assert "started" in system.control("restart", f"gateway:{member}")
            calls.wait()
    assert calls.failed == []


def test_a_call_is_in_the_log_like_a_request(system: System) -> None:
    """Both programs' lines have its trace id."""
    trace = "4bf92f3577b34da6a3ce929d0e0e47aa"
    request = wire.ModelInferRequest(model_name="v1-mock")
    write_inputs(request, {"features": np.ones((1, 3), np.float32)})
    with grpc.insecure_channel(f"127.0.0.1:{system.front_port}") as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            wire.ModelInferRequest.SerializeToString,
            wire.ModelInferResponse.FromString,
        )
        infer(request, timeout=5, metadata=(("traceparent", f"00-{trace}-00f067aa0ba902b7-01"),))
    line = system.log_line("gateway", "request", trace_id=trace)
    assert (line["method"], line["status"], line["model"]) == ("gRPC", 200, "v1-mock")
    assert system.log_line("inference", "call", trace_id=trace)["status"] == "OK"
