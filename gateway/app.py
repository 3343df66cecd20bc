"""The gateway's composition root and its URL map on one screen."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from falcon.asgi import App, Request, Response

from gateway import errors
from gateway.dispatch import Dispatcher
from gateway.middleware import Life, Observation
from gateway.resources.health import HealthResource, ReadyResource
from gateway.resources.predict import PredictResource
from gateway.workers import Workers
from inference_core.settings import Settings
from otel import tracing

SERVICE = "gateway"


def create_app(settings: Settings) -> App[Request, Response]:
    """Build the gateway; call it in the process that will serve, after every fork."""
    sockets = [settings.worker_socket(slot) for slot in range(settings.inference.workers)]
    workers = Workers(sockets, settings.inference.max_message_bytes)
    traces = tracing.start(settings.telemetry, SERVICE, version("inference-hub"))
    dispatcher = Dispatcher(workers, traces.tracer)

    around: list[Any] = [Observation(traces.tracer), Life(workers, traces)]
    app = App(middleware=around)
    errors.install(app)
    app.add_route("/predict", PredictResource(dispatcher, settings.gateway, settings.predict))
    app.add_route("/health", HealthResource(workers))
    app.add_route("/ready", ReadyResource(workers, settings.predict))
    return app
