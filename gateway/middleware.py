"""Around every request that Falcon answers: what `observation` notes; around the process: connections and tracing."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from falcon.asgi import Request, Response

from gateway.front_door import FrontDoor
from gateway.observation import Observer
from gateway.replies import DIRECT_ROUTES, LEAVING, DirectRoutes
from gateway.traffic import Traffic
from gateway.workers import Workers
from otel import tracing

REQUEST_ID = "X-Request-Id"
TRACE_ID = "X-Trace-Id"
LONGEST_PATH = 256
YOUNG_OBJECTS = 20_000
log = structlog.get_logger()


class Observation:
    """Gives every request an id, a trace and one log line, and every answer the two ids."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    async def process_request(self, request: Request, _: Response) -> None:
        """Begin."""
        context = request.context
        names = (REQUEST_ID, "traceparent", "tracestate")
        context.observer = self._observer
        observed = self._observer.begin(request.method, *(request.get_header(name) or "" for name in names))
        path, client = request.path[:LONGEST_PATH], request.remote_addr
        context.observed = msgspec.structs.replace(observed, path=path, client=client)
        context.call = context.error = None

    async def process_response(self, request: Request, response: Response, _: object, __: bool) -> None:  # noqa: FBT001 - Falcon's signature
        """Put the ids on the answer and end."""
        context = request.context
        response.set_header(REQUEST_ID, context.observed.request_id)
        response.set_header(TRACE_ID, context.observed.trace.trace_id)
        for name, value in context.call.told() if context.call is not None else ():
            response.set_header(name, value)
        route = request.uri_template or "(none)"
        # Taken off: by its traceback it leads back to this request, whose body would wait for the garbage collector.
        error, context.error = context.error, None
        self._observer.end(context.observed, route, response.status_code, context.call, error)


class Life:
    """Opens what needs the running loop when the process starts to serve, and closes it when it ends."""

    def __init__(
        self,
        workers: Workers,
        traffic: Traffic,
        observer: Observer,
        traces: tracing.Tracing,
        direct_routes: DirectRoutes,
    ) -> None:
        self._workers = workers
        self._traffic = traffic
        self._observer = observer
        self._traces = traces
        self._direct_routes = direct_routes

    async def process_startup(self, scope: Mapping[str, Any], _: Mapping[str, Any]) -> None:
        """Connect to the workers; none needs to be there yet."""
        self._workers.connect()
        self._traffic.open()
        scope.get("state", {})[DIRECT_ROUTES] = self._direct_routes
        _tune_collector()
        log.info("serving", workers=len(self._workers))

    async def process_shutdown(self, _: Mapping[str, Any], __: Mapping[str, Any]) -> None:
        """Let what runs end, close the connections, then flush the spans within a bounded time."""
        await self._traffic.close()
        await self._workers.close()
        self._observer.close()
        self._traces.stop()
        log.info("stopped")


class FrontDoorLife:
    """Opens the gRPC door after the workers are connected; closes it, beside the HTTP side, before they are left."""

    def __init__(self, front_door: FrontDoor) -> None:
        self._front_door = front_door

    async def process_startup(self, scope: Mapping[str, Any], _: Mapping[str, Any]) -> None:
        """Take calls."""
        await self._front_door.open()
        scope.get("state", {})[LEAVING] = self._front_door.leave

    async def process_shutdown(self, _: Mapping[str, Any], __: Mapping[str, Any]) -> None:
        """Wait until the last call has ended."""
        await self._front_door.close()


def _tune_collector() -> None:
    # Requests leave no cycles behind, yet with Python's own thresholds a third of the time went into looking for some.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
