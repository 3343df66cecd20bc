"""One attempt: a batch of requests as one ModelInfer call to one worker, and its response as their answers.

Each kept request has a client span for each attempt. Every request's trace context crosses: in the metadata where a
call carries one request, in its parameters (`inference_core.members`) where it carries several.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from grpc import StatusCode
from opentelemetry.trace import Span, SpanKind, Tracer

from gateway.call import Call
from gateway.model_facts import Key
from gateway.slots import INFER, InferCall, Slot
from inference_core.batching import Batch, Entry
from inference_core.deadline import now
from inference_core.inference import Inference
from inference_core.members import PARAMETER, Member, to_text
from inference_core.stacking import split, stack
from inference_core.tensors import read_tensors, write_inputs
from inference_pb import open_inference_pb2 as wire
from otel import tracing
from otel.requests import attempt_traceparent

METHOD = INFER.removeprefix("/")
QUEUE_PARAMETER, COMPUTE_PARAMETER = "queue_us", "compute_us"
ALONE = "alone"
MICROSECONDS = 1_000_000


class Attempt:
    """A batch at a worker. `hedge` is its twin at another worker; `is_beaten` says that the twin answered first."""

    __slots__ = (
        "allowed",
        "batch",
        "call",
        "entries",
        "hedge",
        "is_beaten",
        "is_probed",
        "model",
        "slot",
        "spans",
        "started",
        "version",
    )

    def __init__(self, key: Key, slot: Slot, batch: Batch, entries: Sequence[Entry]) -> None:
        self.model, self.version = key
        self.slot = slot
        self.batch = batch
        self.entries = entries
        self.started = now()
        self.allowed = max([entry.deadline.remaining() for entry in entries])
        self.spans: list[Span] = []
        self.hedge: asyncio.Task[StatusCode] | None = None
        self.is_beaten = False
        self.is_probed = False
        self.call: InferCall

    def seconds(self) -> float:
        """Return how long it has been under way."""
        return now() - self.started


class Attempts:
    """Begins attempts and tells their ends to the requests and their traces."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(self, key: Key, slot: Slot, batch: Batch, fingerprint: str = "") -> Attempt:
        """Send a batch's waiting entries; a fingerprint marks one that must run alone."""
        attempt = Attempt(key, slot, batch, batch.waiting())
        first: Call = attempt.entries[0].context
        request = wire.ModelInferRequest(model_name=key[0], model_version=key[1], id=first.request_id)
        write_inputs(request, stack([entry.inputs for entry in attempt.entries]))
        members = [self._member(attempt, entry) for entry in attempt.entries]
        if len(members) > 1:
            request.parameters[PARAMETER].string_param = to_text(members)
        metadata = _metadata(first, members[0], fingerprint)
        attempt.call = slot.infer(request, attempt.allowed, metadata)
        return attempt

    def _member(self, attempt: Attempt, entry: Entry) -> Member:
        call: Call = entry.context
        entry.attempts += 1
        call.attempts = entry.attempts
        if call.trace.span is None:
            return Member(entry.rows, call.request_id, call.trace.traceparent)
        context = call.trace.context()
        if entry.attempts == 1:
            queued = self._tracer.start_span("queue", context, start_time=_epoch(entry.queued_at))
            queued.end(_epoch(attempt.batch.formed_at))
        span = tracing.start_rpc_span(self._tracer, SpanKind.CLIENT, METHOD, context)
        span.set_attributes(
            {
                "app.attempt": entry.attempts,
                "app.worker.slot": attempt.slot.number,
                "app.batch.rows": attempt.batch.rows,
                "app.batch.size": len(attempt.batch.entries),
                "app.batch.reason": attempt.batch.reason,
            }
        )
        attempt.spans.append(span)
        return Member(entry.rows, call.request_id, attempt_traceparent(span))

    def end(self, attempt: Attempt, status: StatusCode) -> None:
        """End the attempt's spans with its status."""
        for span in attempt.spans:
            tracing.end_rpc_span(span, status.name, status.value[0], failed=status is not StatusCode.OK)

    def answers(self, attempt: Attempt, response: wire.ModelInferResponse) -> list[Inference]:
        """Return each entry's answer, and note on its call how long the stages took.

        Raises InvalidInput or ModelFailed for a response whose tensors cannot be read or have other rows.
        """
        outputs = read_tensors(response.outputs, response.raw_output_contents)
        shares = split(outputs, [entry.rows for entry in attempt.entries])
        parameters = response.parameters
        waited = parameters[QUEUE_PARAMETER].int64_param / MICROSECONDS if QUEUE_PARAMETER in parameters else 0.0
        computed = parameters[COMPUTE_PARAMETER].int64_param / MICROSECONDS if COMPUTE_PARAMETER in parameters else 0.0
        hop = max(0.0, attempt.seconds() - waited - computed)
        name, version = response.model_name, response.model_version
        for entry in attempt.entries:
            call: Call = entry.context
            call.version = version
            call.queued = attempt.started - entry.queued_at
            call.hop, call.waited, call.computed = hop, waited, computed
        return [Inference(name, version, share) for share in shares]


def _metadata(first: Call, member: Member, fingerprint: str) -> tuple[tuple[str, str], ...]:
    metadata: tuple[tuple[str, str], ...] = (("traceparent", member.traceparent), ("x-request-id", first.request_id))
    if first.trace.state:
        metadata += (("tracestate", first.trace.state),)
    return (*metadata, (ALONE, fingerprint)) if fingerprint else metadata


def _epoch(monotonic: float) -> int:
    """Return a time on the clock of Deadline as nanoseconds since 1970."""
    return time.time_ns() - int((now() - monotonic) * 1e9)
