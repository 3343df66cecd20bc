"""The gateway's composition root and its URL map on one screen."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Any

from falcon.asgi import App, Request, Response
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from gateway import errors
from gateway.direct import DirectPredict
from gateway.dispatch import Dispatcher
from gateway.middleware import Life, Observation
from gateway.observation import Observer
from gateway.predictions import Predictions
from gateway.resources.health import HealthResource, ReadyResource
from gateway.resources.metrics import MetricsResource
from gateway.resources.predict import PredictResource
from gateway.tally import Tally
from gateway.workers import Workers
from inference_core.settings import Settings
from otel import tracing
from otel.allowance import Allowance
from otel.metrics import FOLDER, GatewayMetrics, open_registry
from otel.requests import RequestTraces

SERVICE = "gateway"
MEMBER = "INFERENCEHUB_MEMBER"


def create_app(settings: Settings) -> App[Request, Response]:
    """Build the gateway; call it in the process that will serve, after every fork."""
    sockets = [settings.worker_socket(slot) for slot in range(settings.inference.workers)]
    workers = Workers(sockets, settings.inference.max_message_bytes, settings.gateway.batches_in_flight)
    traces = tracing.start(settings.telemetry, SERVICE, version("inference-hub"), sampler=ALWAYS_ON)
    metrics_folder = settings.run_folder / FOLDER
    tally = Tally(GatewayMetrics(open_registry(metrics_folder, f"gateway-{os.environ.get(MEMBER, '0')}")))
    lines = Allowance(settings.telemetry.log_lines_per_second)
    observer = Observer(RequestTraces(traces.tracer, settings.telemetry), lines, tally)
    dispatcher = Dispatcher(workers, traces.tracer, settings.gateway, tally)
    predictions = Predictions(dispatcher, settings.predict)
    direct_routes = {b"/predict": DirectPredict(predictions, observer, settings.gateway)}

    around: list[Any] = [Observation(observer), Life(workers, dispatcher, observer, traces, direct_routes)]
    app = App(middleware=around)
    errors.install(app)
    app.add_route("/predict", PredictResource(predictions, settings.gateway))
    app.add_route("/health", HealthResource(workers))
    app.add_route("/ready", ReadyResource(workers, settings.predict))
    app.add_route("/metrics", MetricsResource(metrics_folder, tally))
    return app
