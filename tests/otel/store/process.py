"""The store as a process of its own, as supervisord starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from deploy.trial import free_ports
from inference_core.settings import CHECKOUT
from otel.store.query import Found, NoTraces, Search, StoredTraces
from tests.otel.store.made import export
from tests.waiting import wait_for


@dataclass(frozen=True)
class Folder:
    """A run folder with settings for a store."""

    path: Path
    port: int

    @property
    def traces(self) -> StoredTraces:
        """What is stored in it."""
        return StoredTraces(self.path / "run" / "traces.sqlite")

    def stored(self) -> list[Found]:
        """Return all stored requests."""
        try:
            return self.traces.search(Search(limit=10_000))
        except NoTraces:
            return []

    def environment(self) -> dict[str, str]:
        """Return the environment of its programs."""
        return {**os.environ, "INFERENCEHUB_SETTINGS": str(self.path / "settings.toml")}

    def ask(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a verb of the command."""
        command = [sys.executable, "-m", "otel.store", *arguments]
        return subprocess.run(
            command, cwd=CHECKOUT, env=self.environment(), input=given, capture_output=True, text=True, check=False
        )

    def lines(self) -> list[dict[str, Any]]:
        """Return what the store has logged."""
        return [json.loads(line) for line in (self.path / "log").read_text().splitlines()]


def folder(path: Path, **settings: float) -> Folder:
    """Write settings of a store of its own."""
    (port,) = free_ports(1)
    section = "".join(f"{key} = {value}\n" for key, value in {"port": port, **settings}.items())
    endpoint = f'otlp_endpoint = "http://127.0.0.1:{port}"'
    text = f'[tracestore]\n{section}[telemetry]\n{endpoint}\n[layout]\nrun_folder = "{path}/run"\n'
    (path / "settings.toml").write_text(text)
    return Folder(path, port)


@contextmanager
def running(where: Folder, *before: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the store, through the command `before` it; it is killed if it does not stop when it is told to."""
    command = [*before, sys.executable, "-m", "otel.store"]
    with (where.path / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=CHECKOUT, env=where.environment(), stdout=log, stderr=log)
    try:
        wait_for(lambda: takes(where) or process.poll() is not None, "the store's start", 30)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def takes(where: Folder) -> bool:
    """Tell whether somebody takes exports."""
    try:
        send(where)
    except grpc.RpcError:
        return False
    return True


def send(where: Folder, *resources: ResourceSpans, seconds: float = 5.0) -> ExportTraceServiceResponse:
    """Send spans as an exporter does; raises grpc.RpcError."""
    with grpc.insecure_channel(f"127.0.0.1:{where.port}") as channel:
        stub = TraceServiceStub(channel)  # type: ignore[no-untyped-call]  # generated code
        answer: ExportTraceServiceResponse = stub.Export(export(*resources), timeout=seconds)
        return answer
