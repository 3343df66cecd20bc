"""otel/jaeger.yaml, run by the real Jaeger: what goes in over OTLP comes out of both query interfaces, and stays."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_trace_id

from tests import web
from tests.tools import tool
from tests.waiting import wait_for

CONFIGURATION = Path(__file__).parent.parent.parent / "otel" / "jaeger.yaml"
PORTS = (
    "JAEGER_UI_PORT",
    "JAEGER_QUERY_GRPC_PORT",
    "JAEGER_OTLP_GRPC_PORT",
    "JAEGER_OTLP_HTTP_PORT",
    "JAEGER_HEALTH_PORT",
)
SERVICE = "test-of-jaeger"
START_SECONDS = 30.0
STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Jaeger:
    """A running Jaeger: its process id, and its ports by the name of the variable that sets them."""

    pid: int
    ports: dict[str, int]

    def get(self, path: str) -> httpx.Response:
        """Ask the query interface."""
        return web.get(f"http://127.0.0.1:{self.ports['JAEGER_UI_PORT']}{path}", timeout=5)


def free_ports() -> dict[str, int]:
    """Choose a free port for each variable; held together while choosing, so that no two are the same."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
        return {name: held_socket.getsockname()[1] for name, held_socket in zip(PORTS, sockets, strict=True)}


def is_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    """Whether the health endpoint answers 200; a Jaeger that ended fails the test with the tail of its log."""
    assert process.poll() is None, f"jaeger ended with {process.returncode}:\n{log.read_text()[-4000:]}"
    try:
        return web.get(f"http://127.0.0.1:{port}/status", timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop as supervisord does: ask, wait, and only then force."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def running_jaeger(folder: Path) -> Iterator[Jaeger]:
    """Run Jaeger on free ports with its state below the folder, where the file's own default puts it."""
    ports = free_ports()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAEGER_")}
    environment |= {name: str(port) for name, port in ports.items()}
    command: list[str | Path] = [tool("jaeger"), "--config", CONFIGURATION]
    log = folder / "jaeger.log"
    with log.open("wb") as output, subprocess.Popen(command, cwd=folder, env=environment, stderr=output) as process:
        try:
            wait_for(lambda: is_ready(process, ports["JAEGER_HEALTH_PORT"], log), "readiness of Jaeger", START_SECONDS)
            yield Jaeger(process.pid, ports)
        finally:
            stop(process)


@pytest.fixture
def jaeger(tmp_path: Path) -> Iterator[Jaeger]:
    """Run a Jaeger of the test's own."""
    with running_jaeger(tmp_path) as running:
        yield running


def send_trace(jaeger: Jaeger) -> str:
    """Send a trace of two spans as a program does, over OTLP and gRPC, and return its id in hexadecimal."""
    finished = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(finished))
    tracer = provider.get_tracer(__name__)
    with tracer.start_as_current_span("request") as request, tracer.start_as_current_span("compute"):
        trace_id = format_trace_id(request.get_span_context().trace_id)
    exporter = OTLPSpanExporter(endpoint=f"127.0.0.1:{jaeger.ports['JAEGER_OTLP_GRPC_PORT']}", insecure=True)
    assert exporter.export(finished.get_finished_spans()) is SpanExportResult.SUCCESS
    exporter.shutdown()
    return trace_id


def span_names(jaeger: Jaeger, trace_id: str) -> set[str]:
    """Return the names of a trace's spans as stored, or nothing while the trace is unknown."""
    answer = jaeger.get(f"/api/v3/traces/{trace_id}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return set()
    resources = answer.raise_for_status().json()["result"]["resourceSpans"]
    return {span["name"] for resource in resources for scope in resource["scopeSpans"] for span in scope["spans"]}


def found_by_service(jaeger: Jaeger) -> list[str]:
    """Return the ids of the traces that a search for the service shows, as the web page searches."""
    answer = jaeger.get(f"/api/traces?service={SERVICE}").raise_for_status().json()
    return [trace["traceID"] for trace in answer["data"]]


def wait_for_trace(jaeger: Jaeger, trace_id: str) -> None:
    """Wait until both spans of the trace can be queried."""
    both = {"request", "compute"}
    wait_for(lambda: span_names(jaeger, trace_id) == both, f"storing of trace {trace_id}")


def test_finds_a_trace_by_id_and_by_service(jaeger: Jaeger) -> None:
    """A trace sent over OTLP is found by its id and by its service."""
    trace_id = send_trace(jaeger)
    wait_for_trace(jaeger, trace_id)
    assert found_by_service(jaeger) == [trace_id]


def test_traces_outlive_a_restart(tmp_path: Path) -> None:
    """A trace that Jaeger accepted is found again after Jaeger was stopped and started."""
    with running_jaeger(tmp_path) as first:
        trace_id = send_trace(first)
    with running_jaeger(tmp_path) as second:
        wait_for_trace(second, trace_id)
        assert found_by_service(second) == [trace_id]


def test_listens_on_loopback_alone(jaeger: Jaeger) -> None:
    """Jaeger listens on the five configured ports of 127.0.0.1 and on nothing else."""
    sockets = psutil.Process(jaeger.pid).net_connections(kind="inet")
    open_to_others = [one for one in sockets if one.status == psutil.CONN_LISTEN or one.type is socket.SOCK_DGRAM]
    listening = {tuple(one.laddr) for one in open_to_others}
    assert listening == {("127.0.0.1", port) for port in jaeger.ports.values()}


def test_grpcurl_reads_the_health_of_jaeger(jaeger: Jaeger) -> None:
    """The grpcurl that is installed calls a gRPC service by reflection alone, here Jaeger's health service."""
    address = f"127.0.0.1:{jaeger.ports['JAEGER_QUERY_GRPC_PORT']}"
    command: list[str | Path] = [
        tool("grpcurl"),
        "-plaintext",
        "-max-time",
        "10",
        address,
        "grpc.health.v1.Health/Check",
    ]
    answer = subprocess.run(command, capture_output=True, check=True).stdout
    assert json.loads(answer) == {"status": "SERVING"}
