"""The worker's composition root: everything is built here and nowhere else."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from functools import partial
from importlib.metadata import version

import msgspec
import structlog
from grpc_health.v1.health import aio as health_aio

from inference_core.admission import Admission, Limits, NoAdmission
from inference_core.errors import ConfigurationError
from inference_core.settings import Settings
from inference_pb.inference_pb2_grpc import add_ModelInferenceServicer_to_server
from inference_pb.open_inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from model_service import memory
from model_service.border import observed
from model_service.call_spans import CallSpans
from model_service.engine import BoundsOfModel, Computing, Engine
from model_service.isolation import Isolation
from model_service.library import Library
from model_service.observation import Keeping, Observer
from model_service.origin_servicer import OriginServicer
from model_service.placing import Loading
from model_service.registry import Registry
from model_service.server import Health, Register, build_hop, build_server, drain
from model_service.servicer import OpenInferenceServicer
from model_service.slot import SlotLock
from otel import tracing
from otel.allowance import Allowance
from otel.metrics import FOLDER, UncountedWorkerMetrics, WorkerMetrics, open_registry

SERVICE = "inference-worker"
HANGS = 4
"""Exit status of a worker in which all threads of a model compute for nobody and do not end; nothing can end them."""

VERSION = version("inference-hub")

log = structlog.get_logger()


async def serve(settings: Settings, slot: int) -> None:
    """Serve until SIGTERM or SIGINT; raises ConfigurationError when the worker cannot start."""
    started = time.perf_counter()
    memory.separate()
    stop = _stop_event()
    lock = _locked_slot(settings, slot)
    # The gateway decides what is sampled; its workers always follow.
    telemetry = msgspec.structs.replace(settings.telemetry, trust_sampled_flag=True)
    metrics = _metrics(settings, slot)
    traces = tracing.start(telemetry, SERVICE, VERSION, metrics.spans, {"app.worker.slot": slot})
    registry = Registry()
    isolation = Isolation(settings.death_note(slot))
    engine = Engine(registry, partial(_admission, settings), _computing(settings), metrics, isolation)
    lines = Allowance(telemetry.log_lines_per_second)
    observer = Observer(CallSpans(traces.recorder), Keeping(telemetry), lines, metrics.lines_left_out)
    health = Health(health_aio.HealthServicer())
    library = Library(registry, engine, _loading(settings), health.follow)
    services = _services(settings, registry, engine, library, health, observer)
    server = build_server(settings.inference, _addresses(settings, slot), services)
    hop = build_hop(settings.inference, services)
    await health.starting()
    await server.start()
    await hop.open(settings.hop_socket(slot))
    await library.open()
    memory.freeze()
    await health.serving(registry.names())
    log.info("serving", seconds=round(time.perf_counter() - started, 3), pid=os.getpid())
    await _follow_repositories(library, stop)
    # The hop first: gateways take the other connection's end for the worker's.
    await drain((hop, server), health, settings.inference)
    await library.close()
    await engine.close()
    registry.close()
    observer.close()
    traces.stop()
    lock.release()
    log.info("stopped")


async def _follow_repositories(library: Library, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    watching = loop.create_task(library.watch())
    looking: set[asyncio.Task[None]] = set()

    def look() -> None:
        task = loop.create_task(library.look_now())
        looking.add(task)
        task.add_done_callback(looking.discard)

    loop.add_signal_handler(signal.SIGHUP, look)
    await stop.wait()
    # A second one, as from a terminal that closes, must not end what drains.
    loop.add_signal_handler(signal.SIGHUP, stop.set)
    for task in (watching, *looking):
        task.cancel()


def _locked_slot(settings: Settings, slot: int) -> SlotLock:
    workers = settings.inference.workers
    if not 0 <= slot < workers:
        raise ConfigurationError(f"There is no slot {slot}: inference.workers is {workers}, slots count from 0.")
    folder = settings.run_folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return SlotLock(folder / f"inference-{slot}.lock")
    except OSError as error:
        raise ConfigurationError(f"The run folder {folder} cannot be used: {error.strerror}.") from error


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _loading(settings: Settings) -> Loading:
    inference = settings.inference
    return Loading(
        roots=settings.repositories,
        threads=max(1, len(os.sched_getaffinity(0)) // inference.workers),
        poll_seconds=inference.poll_interval,
        load_seconds=inference.load_timeout,
        most_bytes=inference.max_model_bytes,
        overrides={"v1-mock": {"latency": inference.mock_latency}},
    )


def _computing(settings: Settings) -> Computing:
    inference = settings.inference
    return Computing(inference.inline_seconds, (inference.hang_seconds, partial(os._exit, HANGS)))


def _admission(settings: Settings, bounds: BoundsOfModel) -> Admission:
    inference, gateway = settings.inference, settings.gateway
    limits = Limits(
        bounds.rows or inference.max_queue_rows,
        bounds.size or inference.max_queue_bytes,
        inference.queue_target,
        sheds=True,
        expected_batches=gateway.processes * gateway.batches_in_flight,
    )
    return Admission(limits) if gateway.admission else NoAdmission(limits)


def _metrics(settings: Settings, slot: int) -> WorkerMetrics:
    registry = open_registry(settings.run_folder / FOLDER, f"inference-{slot}")
    return WorkerMetrics(registry) if settings.telemetry.metrics else UncountedWorkerMetrics(registry)


def _addresses(settings: Settings, slot: int) -> tuple[str, str]:
    inference = settings.inference
    return f"unix:{settings.worker_socket(slot)}", f"{_bracketed(inference.host)}:{inference.port + slot}"


def _services(  # noqa: PLR0913, PLR0917  # everything that answers
    settings: Settings, registry: Registry, engine: Engine, library: Library, health: Health, observer: Observer
) -> tuple[Register, ...]:
    patience = settings.inference.default_deadline
    origin = OriginServicer(engine, settings.predict, patience)
    protocol = OpenInferenceServicer(
        registry, engine, library, lambda: health.ready, version=VERSION, default_deadline=patience
    )
    return (
        lambda server: add_ModelInferenceServicer_to_server(origin, observed(server, observer)),
        lambda server: add_GRPCInferenceServiceServicer_to_server(protocol, observed(server, observer)),
        health.register,
    )


def _bracketed(host: str) -> str:
    # RFC 3986: an IPv6 address beside a port.
    return f"[{host}]" if ":" in host else host
