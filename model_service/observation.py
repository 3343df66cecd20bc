"""What is kept of a call once it has ended: one log line, and spans for each of its requests whose trace is kept.

Lines of calls that went well, or were refused to protect the others, are kept up to a rate; those of failures always.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from typing import Any, NamedTuple

import structlog
from grpc import StatusCode
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, Tracer, set_span_in_context
from opentelemetry.trace import StatusCode as SpanStatus
from prometheus_client import Counter

from inference_core.deadline import now
from inference_core.errors import InferenceHubError
from inference_core.members import Member, from_text
from model_service.call import Call, Computation
from otel import tracing
from otel.allowance import Allowance
from otel.requests import RequestTraces

FAILURES = {
    StatusCode.UNKNOWN,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.UNIMPLEMENTED,
    StatusCode.INTERNAL,
    StatusCode.UNAVAILABLE,
    StatusCode.DATA_LOSS,
}
"""The statuses that mark a server span as failed (semantic conventions, RPC spans)."""

RATIONED = {StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED}
SAMPLED_DIGITS = "13579bdf"
"""Last digits of a traceparent with the sampled flag."""

REPORT_SECONDS = 1.0
READINGS = 5
CLOSE_SECONDS = 0.00005

log = structlog.get_logger()


class End(NamedTuple):
    """How and when a call ended."""

    status: StatusCode
    time: float
    epoch: Epoch


class Observer:
    """Begins and ends the observation of calls; one for each process."""

    def __init__(self, tracer: Tracer, traces: RequestTraces, lines: Allowance, left_out: Counter) -> None:
        self._tracer = tracer
        self._traces = traces
        self._lines = lines
        self._left_out = left_out
        self._report: asyncio.TimerHandle | None = None

    def begin(self, method: str, offered_id: str, traceparent: str, tracestate: str) -> Call:
        """Begin a call to `package.Service/Method`, with what its metadata says or empty texts."""
        return Call(method, self._traces.begin(method, traceparent, tracestate), offered_id)

    def end(self, call: Call, status: StatusCode, error: BaseException | None) -> None:
        """End it with its status and what it failed of."""
        if error is not None and not isinstance(error, InferenceHubError | asyncio.CancelledError):
            log.error("unexpected error", exc_info=error)
        if call.trace.span is not None or call.members:
            self._end_spans(call, status)
        if status not in RATIONED or self._lines.take():
            log.info("call", **_line(call, status, error))
        elif self._report is None:
            loop = asyncio.get_running_loop()
            # In a context of its own: the line is about no call.
            self._report = loop.call_later(REPORT_SECONDS, self._tell, context=contextvars.Context())

    def _tell(self) -> None:
        self._report = None
        count = self._lines.reset()
        self._left_out.inc(count)
        log.info("calls not logged", count=count)

    def _end_spans(self, call: Call, status: StatusCode) -> None:
        end = End(status, now(), Epoch())
        if call.trace.span is not None:
            call.trace.span.set_attributes(tracing.rpc_attributes(call.method))
            self._end_span(call, call.trace.span, 0, end)
        first = 0 if call.trace.span is None else 1
        parts = call.members.split(";") if call.members else ()
        for place, part in enumerate(parts[first:], first):
            # The only look at requests whose traces are not kept.
            if part[-1:] in SAMPLED_DIGITS:
                for member in from_text(part):
                    self._end_span(call, self._begin_span(call, member, end.epoch), place, end)

    def _begin_span(self, call: Call, member: Member, epoch: Epoch) -> Span:
        parent = tracing.context_from({"traceparent": member.traceparent})
        return tracing.start_rpc_span(self._tracer, SpanKind.SERVER, call.method, parent, epoch.at(call.started_at))

    def _end_span(self, call: Call, span: Span, place: int, end: End) -> None:
        if call.model:
            span.set_attributes({"app.model.name": call.model, "app.model.version": call.version})
        if call.computation is not None:
            self._add_stages(call, call.computation, set_span_in_context(span, Context()), place, end)
        failed, ended_at = end.status in FAILURES, end.epoch.at(end.time)
        tracing.end_rpc_span(span, end.status.name, end.status.value[0], failed=failed, end_time=ended_at)

    def _add_stages(self, call: Call, computed: Computation, parent: Context, place: int, end: End) -> None:
        attributes: dict[str, str | int] = {
            "app.model.name": call.model,
            "app.model.version": call.version,
            "app.batch.rows": computed.batch_rows,
            "app.batch.size": computed.batch_requests,
            "app.batch.index": computed.index + place,
            "app.batch.reason": computed.reason,
        }
        started_at = end.epoch.at(computed.started_at)
        if computed.waited:
            queued_at = end.epoch.at(computed.queued_at)
            self._tracer.start_span("queue", parent, attributes=attributes, start_time=queued_at).end(started_at)
        span = self._tracer.start_span("compute", parent, attributes=attributes, start_time=started_at)
        if computed.error:
            span.set_attribute("error.type", computed.error)
            span.set_status(Status(SpanStatus.ERROR, computed.error))
        span.end(end.epoch.at(computed.ended_at or end.time))


def _line(call: Call, status: StatusCode, error: BaseException | None) -> dict[str, Any]:
    milliseconds = round((now() - call.started_at) * 1000, 3)
    line = {"method": call.method, "status": status.name, "milliseconds": milliseconds, **call.describe()}
    if isinstance(error, InferenceHubError):
        line["error"] = error.message
    return line


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
