"""The gateway's composition root and its URL map on one screen."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Any

from falcon.asgi import App, Request, Response

from gateway import errors
from gateway.calls import Calls
from gateway.cross_site import CrossSite
from gateway.direct import DirectPredict
from gateway.dispatch import Dispatcher
from gateway.front_door import GrpcDoor, NoFrontDoor
from gateway.front_door_servicer import FrontDoorServicer
from gateway.keeping import Keeping
from gateway.live import Live
from gateway.middleware import FrontDoorLife, Life, Observation
from gateway.observation import Kept, Observer
from gateway.openapi import document
from gateway.predictions import Predictions
from gateway.request_spans import RequestSpans
from gateway.resources.admin import AllTrafficResource, TrafficResource
from gateway.resources.console import ConsoleResource, files
from gateway.resources.console_live import LiveLife, LiveResource
from gateway.resources.console_models import CardResource, ModelsResource
from gateway.resources.console_traces import SearchResource, TraceResource, Traces, WhyResource
from gateway.resources.console_workers import AboutResource, WorkersResource
from gateway.resources.health import HealthResource, ReadyResource
from gateway.resources.metrics import MetricsResource
from gateway.resources.openapi import DocumentResource, PageResource
from gateway.resources.predict import PredictResource
from gateway.resources.v2 import ModelResource, RepositoryResource, ServerResource
from gateway.resources.v2_infer import InferResource
from gateway.tally import NoTally, Tally
from gateway.traffic import Traffic
from gateway.traffic_file import TrafficFile
from gateway.v2.documents import ServerMetadata
from gateway.v2.inferences import Inferences
from gateway.v2.models import Models
from gateway.workers import Workers
from inference_core.settings import Gateway, Settings
from otel import tracing
from otel.allowance import Allowance
from otel.metrics import FOLDER, GatewayMetrics, open_registry
from otel.requests import RequestTraces

SERVICE = "gateway"
VERSION = version("inference-hub")
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
)
MEMBER = "INFERENCEHUB_MEMBER"


def create_app(settings: Settings, *, serves_grpc: bool = False) -> App[Request, Response]:
    """Build the gateway; call it in the process that will serve, after every fork.

    `serves_grpc` opens the gRPC door, too, whose port all processes of one gateway share.
    """
    sockets = [settings.worker_socket(slot) for slot in range(settings.inference.workers)]
    workers = Workers(sockets, settings.inference.max_message_bytes, settings.gateway.batches_in_flight)
    place = f"gateway-{os.environ.get(MEMBER, '0')}"
    metrics_folder, telemetry = settings.run_folder / FOLDER, settings.telemetry
    metrics = GatewayMetrics(open_registry(metrics_folder, place))
    traces = tracing.start(telemetry, SERVICE, VERSION, metrics.spans)
    tally = Tally(metrics) if telemetry.metrics else NoTally(metrics)
    dispatcher = Dispatcher(workers, settings.gateway, tally)
    rules = TrafficFile(settings.run_folder, place)
    traffic = Traffic(dispatcher, rules, settings.traffic, settings.gateway.processes)
    kept = Kept(RequestTraces(telemetry), Keeping(telemetry), RequestSpans(traces.recorder))
    observer = Observer(kept, Allowance(telemetry.log_lines_per_second), tally, traffic.judge)
    predictions, calls = Predictions(traffic, settings.predict), Calls(settings.gateway, settings.traffic)
    direct_routes = {b"/predict": DirectPredict(predictions, observer, settings.gateway, settings.traffic)}

    models, inferences = Models(workers), Inferences(traffic)
    metadata = ServerMetadata("inference-hub", VERSION, list(EXTENSIONS))
    servicer = FrontDoorServicer(models, inferences, metadata, settings.gateway)
    front_door = GrpcDoor(settings, servicer, observer, workers) if serves_grpc else NoFrontDoor()

    life = Life(workers, traffic, observer, traces, direct_routes)
    live = Live(metrics_folder, tally.flush)
    around: list[Any] = [Observation(observer), CrossSite(), life, FrontDoorLife(front_door), LiveLife(live)]
    app = App(middleware=around)
    errors.install(app)
    app.add_route("/predict", PredictResource(predictions, calls, settings.gateway))
    app.add_route("/health", HealthResource(workers))
    app.add_route("/ready", ReadyResource(workers, settings.predict))
    app.add_route("/metrics", MetricsResource(metrics_folder, tally))
    description = document(VERSION)
    app.add_route("/openapi.json", DocumentResource(description))
    app.add_route("/docs", PageResource(description))
    _add_v2(app, models, InferResource(inferences, models, calls, settings.gateway), metadata, settings.gateway)
    app.add_route("/admin/traffic", AllTrafficResource(traffic))
    app.add_route("/admin/traffic/{model}", TrafficResource(traffic, workers))
    _add_console(app, settings, workers, live)
    return app


def _add_v2(
    app: App[Request, Response], models: Models, infer: InferResource, metadata: ServerMetadata, limits: Gateway
) -> None:
    server, model, repository = (
        ServerResource(models, metadata),
        ModelResource(models),
        RepositoryResource(models, limits),
    )
    for path in ("/v2", "/v2/"):
        app.add_route(path, server)
    app.add_route("/v2/health/live", server, suffix="live")
    app.add_route("/v2/health/ready", server, suffix="ready")
    app.add_route("/v2/models/stats", model, suffix="stats")
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        app.add_route(path, model)
        app.add_route(f"{path}/infer", infer)
        for suffix in ("ready", "config", "stats"):
            app.add_route(f"{path}/{suffix}", model, suffix=suffix)
    app.add_route("/v2/repository/index", repository, suffix="index")
    for suffix in ("load", "unload"):
        app.add_route(f"/v2/repository/models/{{model}}/{suffix}", repository, suffix=suffix)


def _add_console(app: App[Request, Response], settings: Settings, workers: Workers, live: Live) -> None:
    page, traces = ConsoleResource(files()), Traces(settings.trace_file)
    for path in ("/console", "/console/"):
        app.add_route(path, page)
    app.add_route("/console/{name}", page)
    api = "/console/api"
    app.add_route(f"{api}/about", AboutResource(VERSION, settings.run_folder))
    app.add_route(f"{api}/live", LiveResource(live))
    app.add_route(f"{api}/models", ModelsResource(Models(workers), workers, settings.predict))
    app.add_route(f"{api}/models/{{model}}/card", CardResource(settings.repositories))
    app.add_route(f"{api}/workers", WorkersResource(workers, settings.run_folder))
    app.add_route(f"{api}/traces", SearchResource(traces))
    app.add_route(f"{api}/traces/{{trace}}", TraceResource(traces))
    app.add_route(f"{api}/why", WhyResource(traces))
