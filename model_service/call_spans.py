"""The spans of a call that has ended, for each of its requests that is kept; and the trace of a batch they shared.

A batch belongs to no request's trace, so it has one of its own: its span links to each kept request's compute span, and
each of these links back. A batch of one request is that request, and has none.
"""

from __future__ import annotations

import asyncio
import contextvars

import msgspec
from grpc import StatusCode
from opentelemetry.trace import Link, SpanKind

from inference_core.members import SAMPLED, Member, from_text
from model_service.call import Call, Computation
from otel import gathering
from otel.recorder import Attributes, Epoch, Place, Recorder, Times, Told, link_to, rpc_attributes, rpc_status
from otel.requests import TRACEPARENT, new_span_id

FAILURES = {
    StatusCode.UNKNOWN,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.UNIMPLEMENTED,
    StatusCode.INTERNAL,
    StatusCode.UNAVAILABLE,
    StatusCode.DATA_LOSS,
}
"""The statuses that mark a server span as failed (semantic conventions, RPC spans)."""

GATHER_SECONDS = 0.25 + gathering.GATHER_SECONDS
"""How long a batch waits for the calls that were computed in it to end, and to be recorded; they are told together."""


class Ended(msgspec.Struct, frozen=True, gc=False):
    """A call that has ended at a time on the clock of Deadline.

    `kept` says why all of its requests are kept; it is empty where each has its own flag.
    """

    call: Call
    status: StatusCode
    at: float
    kept: str


class CallSpans:
    """Records spans of calls and of their batches."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._batches: dict[int, tuple[Computation, Call, Times]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def record(self, ended: Ended) -> None:
        """Record what is kept of a call."""
        call, kept, epoch = ended.call, ended.kept, Epoch()
        own = call.trace
        if own.kept or kept:
            self._record(ended, epoch, Place(own.trace_id, own.span_id, own.parent_id), call.request_id, 0)
        parts = call.members.split(";") if call.members else ()
        # The first request is also the call's own.
        first = 1 if own.kept or kept else 0
        for index, part in enumerate(parts[first:], first):
            # The only look at requests whose traces are not kept.
            if kept or part.endswith(SAMPLED):
                for member in from_text(part):
                    if place := _place_of(member):
                        self._record(ended, epoch, place, member.request_id, index)

    def close(self) -> None:
        """Record the batches that still wait for their calls."""
        if self._timer is not None:
            self._timer.cancel()
        self._gathered()

    def _record(self, ended: Ended, epoch: Epoch, place: Place, request_id: str, index: int) -> None:
        call, status = ended.call, ended.status
        attributes: dict[str, str | int | bool] = {
            **rpc_attributes(call.method),
            **rpc_status(status.name, status.value[0]),
            "app.request.id": request_id,
        }
        if call.model:
            attributes |= {"app.model.name": call.model, "app.model.version": call.version}
        if kept := ended.kept or (call.trace.kept if not call.trace.parent_id else ""):
            attributes["app.kept"] = kept
        if call.computation is not None:
            self._add_stages(ended, epoch, call.computation, place, index)
        error = status.name if status in FAILURES else ""
        times = epoch.between(call.started_at, ended.at)
        self._recorder.record(place, Told(call.method, SpanKind.SERVER, error), times, attributes)

    def _add_stages(self, ended: Ended, epoch: Epoch, computed: Computation, server: Place, index: int) -> None:
        call = ended.call
        position = computed.index + index
        about: Attributes = {**_batch_attributes(call, computed), "app.batch.index": position}
        if computed.waited:
            times = epoch.between(computed.queued_at, computed.started_at)
            self._recorder.record(server.below(), Told("queue"), times, about)
        compute = server.below()
        times = epoch.between(computed.started_at, computed.ended_at or ended.at)
        links: tuple[Link, ...] = ()
        if computed.batch_requests > 1:
            batch = computed.batch.joined(compute, position)
            self._gather(computed, call, times)
            about = {**about, "app.batch.id": batch.span_id, "app.batch.trace_id": batch.trace_id}
            links = (link_to(batch, {"app.batch.index": position}),)
        self._recorder.record(compute, Told("compute", error=computed.error), times, about, links)

    def _gather(self, computed: Computation, call: Call, times: Times) -> None:
        self._batches[id(computed.batch)] = computed, call, times
        if self._timer is None:
            # In a context of its own: a batch is about no call.
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(GATHER_SECONDS, self._gathered, context=contextvars.Context())

    def _gathered(self) -> None:
        self._timer = None
        batches, self._batches = self._batches, {}
        for computed, call, times in batches.values():
            place = computed.batch.place
            if place is not None:
                about: Attributes = {**_batch_attributes(call, computed), "app.batch.id": place.span_id}
                told = Told(f"batch {call.model}", error=computed.error)
                self._recorder.record(place, told, times, about, computed.batch.links)


def _batch_attributes(call: Call, computed: Computation) -> Attributes:
    return {
        "app.model.name": call.model,
        "app.model.version": call.version,
        "app.batch.rows": computed.batch_rows,
        "app.batch.size": computed.batch_requests,
        "app.batch.reason": computed.reason,
    }


def _place_of(member: Member) -> Place | None:
    match = TRACEPARENT.fullmatch(member.traceparent)
    return Place(match[1], new_span_id(), match[2]) if match else None
