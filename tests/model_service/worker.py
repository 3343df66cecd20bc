"""A worker inside the test: real sockets, real gRPC, models that are functions."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import structlog
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from structlog.testing import LogCapture

from inference_core.admission import Admission, Limits
from inference_core.settings import Inference, Predict, Telemetry
from inference_core.tensors import Arrays, write_inputs
from inference_pb import inference_pb2_grpc, open_inference_pb2, open_inference_pb2_grpc
from model_service.border import observed
from model_service.call import Call
from model_service.call_spans import CallSpans
from model_service.description import Description, Tensor
from model_service.engine import Computing, Engine
from model_service.isolation import Isolation
from model_service.library import Library
from model_service.model_queue import NEVER, Hangs
from model_service.observation import Keeping, Observer
from model_service.origin_servicer import OriginServicer
from model_service.placing import Loading
from model_service.registry import LoadedModel, Registry
from model_service.repository import ModelOnDisk
from model_service.server import Health, Register, build_hop, build_server
from model_service.servicer import OpenInferenceServicer
from otel.allowance import Allowance
from otel.logs import add_subject, add_trace_ids
from otel.metrics import WorkerMetrics
from otel.requests import RequestTraces
from tests.model_service.functions import classify, double, shout
from tests.otel.recorded import recorder_to

SETTINGS = Inference(drain_pause=0.05, drain_grace=5.0)
PREDICT = Predict(features_model="double", prompt_model="shout")
ROWS = (Tensor("features", "FP32", (-1, -1)),)
CLASSES = (Tensor("class_id", "INT32", (-1,)), Tensor("confidence", "FP32", (-1,)))
Predictor = Callable[[Arrays], Arrays]


@dataclass
class FunctionRuntime:
    """Runs a function, and remembers what it was asked and whether it was closed."""

    function: Predictor
    only_computes: bool = False
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    asked: list[Arrays] = field(default_factory=list)
    closed: bool = False

    def predict(self, inputs: Arrays) -> Arrays:
        """As `Runtime.predict`."""
        self.asked.append(inputs)
        return self.function(inputs)

    def close(self) -> None:
        """As `Runtime.close`."""
        self.closed = True


class Gate:
    """A function that says when it began and waits until it may end."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()

    def __call__(self, inputs: Arrays) -> Arrays:
        """Wait, then answer as `classify`."""
        self.entered.set()
        assert self.leave.wait(30)
        return classify(inputs)

    async def wait_entered(self) -> None:
        """Wait until the function runs."""
        assert await asyncio.to_thread(self.entered.wait, 10)


def loaded(
    name: str,
    function: Predictor = classify,
    *,
    version: str = "1",
    inputs: tuple[Tensor, ...] = ROWS,
    outputs: tuple[Tensor, ...] = CLASSES,
    **options: Any,
) -> LoadedModel:
    """Return a model that is a function; `options` are keys of model.toml."""
    description = Description("test", inputs, outputs, **options)
    return LoadedModel.of(ModelOnDisk(name, version, Path(name, version), description), FunctionRuntime(function))


def models() -> list[LoadedModel]:
    """Return the models that most tests use."""
    return [
        loaded("double", double, outputs=(*CLASSES, Tensor("doubled", "FP32", (-1, -1)))),
        loaded("shout", shout, inputs=(Tensor("prompt", "BYTES", (-1,)),), outputs=(*CLASSES, _label())),
        loaded("versioned", version="1"),
        loaded("versioned", version="2"),
    ]


def _label() -> Tensor:
    return Tensor("label", "BYTES", (-1,))


def runtime_of(model: LoadedModel) -> FunctionRuntime:
    """Return the runtime that a model of `loaded` has."""
    assert isinstance(model.runtime, FunctionRuntime)
    return model.runtime


def registry_of(given: Iterable[LoadedModel]) -> Registry:
    """Return a filled registry."""
    registry = Registry()
    for model in given:
        registry.put(model)
        registry.prefer(model.on_disk.name)
    registry.open()
    return registry


def infer_request(
    model: str = "double", version: str = "", arrays: Arrays | None = None
) -> open_inference_pb2.ModelInferRequest:
    """Return a raw request; without arrays it has the row 1, 2, 3 as `features`."""
    request = open_inference_pb2.ModelInferRequest(model_name=model, model_version=version)
    write_inputs(request, arrays or {"features": np.array([[1, 2, 3]], np.float32)})
    return request


LIMITS = Limits(8192, 256 * 1024 * 1024, 0.1, sheds=True)


NOTHING_ON_DISK = Loading(())


@dataclass(frozen=True)
class Options:
    """What tests choose of a worker's settings; `lines` and `traces` are how many it keeps a second."""

    default_deadline: float = 30.0
    inline_seconds: float = 0.0
    hangs: Hangs = NEVER
    limits: Limits = LIMITS
    lines: float = 100_000
    loading: Loading = NOTHING_ON_DISK
    traces: float = 100_000
    slow_seconds: float = 3600.0
    death_note: Path = Path(tempfile.gettempdir(), "inference-hub-tests-note")


DEFAULTS = Options()


@dataclass(frozen=True)
class Worker:
    """A running worker and one client's channel to it."""

    server: grpc.aio.Server
    channel: grpc.aio.Channel
    hop: open_inference_pb2_grpc.GRPCInferenceServiceAsyncStub
    health: Health
    registry: Registry
    engine: Engine
    library: Library
    spans: InMemorySpanExporter
    logged: list[MutableMapping[str, Any]]

    @property
    def protocol(self) -> open_inference_pb2_grpc.GRPCInferenceServiceAsyncStub:
        """A client of the Open Inference Protocol."""
        return open_inference_pb2_grpc.GRPCInferenceServiceStub(self.channel)

    @property
    def origin(self) -> inference_pb2_grpc.ModelInferenceAsyncStub:
        """A client of the origin's contract."""
        return inference_pb2_grpc.ModelInferenceStub(self.channel)

    @property
    def probe(self) -> Any:
        """A client of the health service; its types know no asyncio."""
        return health_pb2_grpc.HealthStub(self.channel)

    def method(self, path: str) -> Any:
        """Return a client of one method that sends and gets bytes."""
        return self.channel.unary_unary(path)

    def calls(self) -> list[MutableMapping[str, Any]]:
        """Return the log lines of calls."""
        return [line for line in self.logged if line["event"] == "call"]

    async def ended(self, count: int) -> list[MutableMapping[str, Any]]:
        """Wait until that many calls are logged, which can be after their clients know, and return the lines."""
        await until(lambda: len(self.calls()) >= count)
        return self.calls()


@asynccontextmanager
async def starting_worker(*given: LoadedModel, **options: Any) -> AsyncIterator[Worker]:
    """Run a worker that has its models and whose health is still NOT_SERVING; `options` are those of `Options`."""
    capture, spans = LogCapture(), InMemorySpanExporter()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, add_subject, add_trace_ids, capture])
    registry, health = registry_of(given or models()), Health(health_aio.HealthServicer())
    chosen = Options(**options)
    observer = _observer(spans, chosen)
    engine = engine_of(registry, chosen)
    library = Library(registry, engine, chosen.loading, health.follow)
    protocol = OpenInferenceServicer(
        registry, engine, library, lambda: health.ready, version="1.2.3", default_deadline=chosen.default_deadline
    )
    with tempfile.TemporaryDirectory(prefix="hub-") as folder:
        address, hop_socket = f"unix:{folder}/worker.sock", Path(folder) / "worker.hop"
        services = _services(engine, protocol, observer, health)
        server, hop = build_server(SETTINGS, [address], services), build_hop(SETTINGS, services)
        await health.starting()
        await server.start()
        await hop.open(hop_socket)
        at_hop = grpc.aio.insecure_channel(f"unix:{hop_socket}")
        try:
            async with grpc.aio.insecure_channel(address) as channel, at_hop:
                hop_stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(at_hop)
                yield Worker(server, channel, hop_stub, health, registry, engine, library, spans, capture.entries)
        finally:
            await hop.stop(0)
            await server.stop(None)
            await library.close()
            await engine.close()
            observer.close()
            registry.close()
            structlog.reset_defaults()


@asynccontextmanager
async def running_worker(*given: LoadedModel, **options: Any) -> AsyncIterator[Worker]:
    """Run a worker whose health is SERVING."""
    async with starting_worker(*given, **options) as worker:
        await worker.health.serving(model.on_disk.name for model in worker.registry.all())
        yield worker


def engine_of(registry: Registry, options: Options = DEFAULTS) -> Engine:
    """Return an engine over loaded models."""
    metrics = WorkerMetrics(CollectorRegistry())
    isolation, computing = Isolation(options.death_note), Computing(options.inline_seconds, options.hangs)
    return Engine(registry, lambda _: Admission(options.limits), computing, metrics, isolation)


def call_to(request_id: str = "r") -> Call:
    """Return a call as the border makes it; its trace is not kept."""
    return Call("service/Method", RequestTraces(Telemetry(otlp_endpoint="")).begin(""), request_id)


def _services(
    engine: Engine, protocol: OpenInferenceServicer, observer: Observer, health: Health
) -> tuple[Register, ...]:
    origin = OriginServicer(engine, PREDICT, 30.0)
    return (
        lambda server: inference_pb2_grpc.add_ModelInferenceServicer_to_server(origin, observed(server, observer)),
        lambda server: open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
            protocol, observed(server, observer)
        ),
        health.register,
    )


def _observer(spans: InMemorySpanExporter, chosen: Options) -> Observer:
    telemetry = Telemetry(traces_per_second=chosen.traces, slow_seconds=chosen.slow_seconds)
    left_out = WorkerMetrics(CollectorRegistry()).lines_left_out
    return Observer(CallSpans(recorder_to(spans)), Keeping(telemetry), Allowance(chosen.lines), left_out)


async def end_of(call: Any) -> tuple[grpc.StatusCode, str]:
    """Return the status and the sentence that a call ends with."""
    code, details = await call.code(), await call.details()
    return code, details or ""


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until a condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.005)
