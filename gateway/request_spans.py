"""The spans of a request that has ended: server, queue, and for each attempt a call with the worker's own stages.

What comes before the queue (body, decoding, admission) and after the last attempt (decoding, encoding) has spans, too,
so that the spans below the server's are its whole time.

The spans of a worker come from the worker where the request was kept from the beginning. Where it is kept for how it
ended, they are made here from what the worker's answer told, as that worker's; `app.recorded_by` says so.
"""

from __future__ import annotations

import msgspec
from opentelemetry.trace import SpanKind

from gateway.call import Call, Try
from inference_core.names import INFER
from otel.recorder import Attributes, Epoch, Place, Recorder, Told, rpc_attributes, rpc_status
from otel.requests import RequestTrace

WORKER = "inference-worker"
SERVER_ERROR = 500
OK, CANCELLED = "OK", ("CANCELLED", 1)
QUEUE, COMPUTE = Told("queue"), Told("compute")
RECEIVE, RESPOND = Told("receive"), Told("respond")


class Observed(msgspec.Struct, frozen=True, gc=False):
    """A request that was begun and not ended; `started` is on the clock of Deadline.

    `path` and `client` are what arrived and where from, empty where that says no more than the route.
    """

    method: str
    request_id: str
    trace: RequestTrace
    started: float
    path: str = ""
    client: str = ""


class Ended(msgspec.Struct, frozen=True):
    """A request that has ended at a time on the clock of Deadline, and why it is kept; `route` is a template."""

    observed: Observed
    kept: str
    at: float
    route: str
    status: int
    call: Call | None


class RequestSpans:
    """Records the spans of requests."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def record(self, ended: Ended) -> None:
        """Record the spans of one request."""
        observed, epoch = ended.observed, Epoch()
        trace = observed.trace
        place = Place(trace.trace_id, trace.span_id, trace.parent_id)
        error = str(ended.status) if ended.status >= SERVER_ERROR else ""
        times, name = epoch.between(observed.started, ended.at), f"{observed.method} {ended.route}"
        self._recorder.record(place, Told(name, SpanKind.SERVER, error), times, _attributes(ended))
        if ended.call is None or not ended.call.queued_at:
            return
        since = ended.call.queued_at
        self._bordered(place, RECEIVE, epoch, observed.started, since)
        for number, attempt in enumerate(ended.call.tries, 1):
            self._queued(place, epoch, since, attempt.started)
            below = Place(trace.trace_id, trace.attempt_id(number), trace.span_id)
            self._called(ended, epoch, below, number, attempt)
            since = attempt.ended or ended.at
        if ended.call.tries:
            self._bordered(place, RESPOND, epoch, max(attempt.ended for attempt in ended.call.tries), ended.at)
        else:
            self._queued(place, epoch, since, ended.at)

    def _bordered(self, place: Place, told: Told, epoch: Epoch, since: float, until: float) -> None:
        # An attempt that is still under way has not ended.
        if since and until > since:
            self._recorder.record(place.below(), told, epoch.between(since, until), {})

    def _queued(self, place: Place, epoch: Epoch, since: float, until: float) -> None:
        # A second attempt at the same time as the first, to hedge it, has not waited.
        if until > since:
            self._recorder.record(place.below(), QUEUE, epoch.between(since, until), {})

    def _called(self, ended: Ended, epoch: Epoch, place: Place, number: int, attempt: Try) -> None:
        status, code = (attempt.status, attempt.code) if attempt.status else CANCELLED
        attributes = {
            **rpc_attributes(INFER),
            **rpc_status(status, code),
            "app.attempt": number,
            "app.worker.slot": attempt.slot,
            "app.batch.rows": attempt.rows,
            "app.batch.size": attempt.requests,
            "app.batch.reason": attempt.reason,
        }
        times = epoch.between(attempt.started, attempt.ended or ended.at)
        error = "" if status == OK else status
        self._recorder.record(place, Told(INFER, SpanKind.CLIENT, error), times, attributes)
        if status == OK and not ended.observed.trace.kept and ended.call is not None:
            self._computed(epoch, place, attempt, ended.call)

    def _computed(self, epoch: Epoch, place: Place, attempt: Try, call: Call) -> None:
        worker = self._recorder.on_behalf_of(WORKER, attempt.slot)
        about: Attributes = {
            "app.model.name": call.model,
            "app.model.version": call.version,
            "app.recorded_by": "gateway",
        }
        computing = _computing_at(attempt)
        queued, ended = computing - attempt.waited, computing + attempt.computed
        server = place.below()
        times = epoch.between(queued, ended)
        told = {**rpc_attributes(INFER), **rpc_status(OK, 0), **about}
        worker.record(server, Told(INFER, SpanKind.SERVER), times, told)
        if attempt.waited:
            worker.record(server.below(), QUEUE, epoch.between(queued, computing), about)
        worker.record(server.below(), COMPUTE, epoch.between(computing, ended), about)


def _computing_at(attempt: Try) -> float:
    # A worker on this machine has the same clock, and says when it began; of others the way there and back is halved.
    latest = attempt.ended - attempt.computed
    if attempt.started <= attempt.computing_at <= latest:
        return attempt.computing_at
    return attempt.started + attempt.waited + max(0.0, latest - attempt.started - attempt.waited) / 2


def _attributes(ended: Ended) -> dict[str, str | int | bool]:
    observed, call = ended.observed, ended.call
    attributes: dict[str, str | int | bool] = {
        "http.request.method": observed.method,
        "http.route": ended.route,
        "url.path": observed.path or ended.route,
        "url.scheme": "http",
        "http.response.status_code": ended.status,
        "app.request.id": observed.request_id,
        "app.kept": ended.kept,
    }
    if observed.client:
        attributes["client.address"] = observed.client
    if call is not None and call.model:
        attributes["app.model.name"], attributes["app.model.version"] = call.model, call.version
        attributes["app.attempts"] = call.attempts
    if call is not None:  # also where no such model or version is known
        attributes |= {name: value for name, value in (("app.arm", call.arm), ("app.cache", call.cache)) if value}
    return attributes
