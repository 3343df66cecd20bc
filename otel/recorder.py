"""Spans of what has ended, made from times that were noted, and handed to the exporter.

OpenTelemetry's own tracer makes a span when something begins. Here most requests are never recorded, and which are is
often known at their end only; a span that is made then costs nothing before, and may have an id that was given away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from inference_core.deadline import now
from otel.requests import new_span_id

READINGS = 5
CLOSE_SECONDS = 0.00005
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
UNSET = Status(StatusCode.UNSET)

Attributes = Mapping[str, str | int | bool]
Sink = Callable[[ReadableSpan], object]


class Place(NamedTuple):
    """A span's place in its trace, in hexadecimal; `parent_id` is empty for a root."""

    trace_id: str
    span_id: str
    parent_id: str = ""

    def below(self) -> Place:
        """Return the place of a new child."""
        return Place(self.trace_id, new_span_id(), self.span_id)


class Times(NamedTuple):
    """When a span began and ended, in nanoseconds since 1970."""

    started: int
    ended: int


class Told(NamedTuple):
    """What a span says of itself: `error` is its error type, a word such as "503" or "DEADLINE_EXCEEDED"."""

    name: str
    kind: SpanKind = SpanKind.INTERNAL
    error: str = ""


class Recorder:
    """Makes spans of one resource and hands each to `sink`."""

    def __init__(self, sink: Sink, resource: Resource, scope: InstrumentationScope) -> None:
        self._sink, self._resource, self._scope = sink, resource, scope
        self._others: dict[tuple[str, int], Recorder] = {}

    def record(
        self, place: Place, told: Told, times: Times, attributes: Attributes, links: Sequence[Link] = ()
    ) -> None:
        """Record a span."""
        if told.error:
            attributes = {**attributes, "error.type": told.error}
        remote = told.kind is SpanKind.SERVER
        span = ReadableSpan(
            told.name,
            context=_context(place.trace_id, place.span_id),
            parent=_context(place.trace_id, place.parent_id, is_remote=remote) if place.parent_id else None,
            resource=self._resource,
            attributes=attributes,
            links=links,
            kind=told.kind,
            status=Status(StatusCode.ERROR, told.error) if told.error else UNSET,
            start_time=times.started,
            end_time=max(times),
            instrumentation_scope=self._scope,
        )
        self._sink(span)

    def on_behalf_of(self, service: str, slot: int) -> Recorder:
        """Return a recorder for what a worker told of itself in its answer, as the spans of that service and slot."""
        other = self._others.get((service, slot))
        if other is None:
            told = {**self._resource.attributes, "service.name": service, "app.worker.slot": slot}
            of_this_process = ("service.instance.id", "process.pid")
            resource = Resource({key: value for key, value in told.items() if key not in of_this_process})
            other = self._others[service, slot] = Recorder(self._sink, resource, self._scope)
        return other


class Epoch:
    """Turns times on the clock of Deadline into nanoseconds since 1970, all by one reading of the two clocks."""

    def __init__(self) -> None:
        for _ in range(READINGS):
            before = now()
            wall = time.time_ns()
            # A thread that lost its turn between the two would shift its spans by that.
            if now() - before < CLOSE_SECONDS:
                break
        self._shift = wall - int(before * 1e9)

    def at(self, monotonic: float) -> int:
        """Return a time as OpenTelemetry wants it."""
        return self._shift + int(monotonic * 1e9)

    def between(self, started: float, ended: float) -> Times:
        """Return two times on the clock of Deadline."""
        return Times(self.at(started), self.at(ended))


def link_to(place: Place, attributes: Attributes) -> Link:
    """Return a link to a span."""
    return Link(_context(place.trace_id, place.span_id), attributes)


def rpc_attributes(method: str) -> dict[str, str | int | bool]:
    """Return the attributes that name a gRPC method, `package.Service/Method` without a leading slash.

    Names follow the OpenTelemetry semantic conventions 1.44 (RPC: release candidate) and, beside them, the older
    `rpc.system` and `rpc.grpc.status_code` that people search Jaeger by today.
    """
    service, _, name = method.rpartition("/")
    return {
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.grpc.method": name,
    }


def rpc_status(status: str, number: int) -> dict[str, str | int | bool]:
    """Return the attributes of a call's gRPC status, such as ("NOT_FOUND", 5)."""
    return {"rpc.response.status_code": status, "rpc.status_code": status, "rpc.grpc.status_code": number}


def _context(trace_id: str, span_id: str, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, SAMPLED)
