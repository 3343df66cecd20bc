"""One attempt: a batch of requests as one ModelInfer call to one worker, and its response as their answers.

What its requests' traces may tell of it is noted once for all of them. Every request's trace context crosses: in the
metadata where a call carries one request, in its parameters (`inference_core.members`) where it carries several.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from google.protobuf.message import DecodeError
from grpc import StatusCode

from gateway.call import Call, Try
from gateway.hop import InferCall
from gateway.model_facts import Key
from gateway.slots import Slot
from inference_core.batching import Batch, Entry
from inference_core.deadline import now
from inference_core.errors import ModelFailed
from inference_core.inference import Inference
from inference_core.members import PARAMETER, Member, to_text
from inference_core.raw_messages import read_response, request_bytes
from inference_core.stacking import split, stack
from inference_core.tensors import Buffer, read_tensors
from inference_pb import open_inference_pb2 as wire

QUEUE_PARAMETER, COMPUTE_PARAMETER, COMPUTING_PARAMETER = "queue_us", "compute_us", "computing_at_us"
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
        "started",
        "told",
        "version",
    )

    def __init__(self, key: Key, slot: Slot, batch: Batch, entries: Sequence[Entry]) -> None:
        self.model, self.version = key
        self.slot = slot
        self.batch = batch
        self.entries = entries
        self.started = now()
        self.allowed = max([entry.deadline.remaining() for entry in entries])
        self.told = Try(slot.number, self.started, batch.rows, len(batch.entries), batch.reason)
        self.hedge: asyncio.Task[StatusCode] | None = None
        self.is_beaten = False
        self.is_probed = False
        self.call: InferCall

    def seconds(self) -> float:
        """Return how long it has been under way."""
        return now() - self.started


class Attempts:
    """Begins attempts and tells their ends to the requests and their traces."""

    def begin(self, key: Key, slot: Slot, batch: Batch, fingerprint: str = "") -> Attempt:
        """Send a batch's waiting entries; a fingerprint marks one that must run alone."""
        attempt = Attempt(key, slot, batch, batch.waiting())
        first: Call = attempt.entries[0].context
        request = wire.ModelInferRequest(model_name=key[0], model_version=key[1], id=first.request_id)
        members = [self._member(attempt, entry) for entry in attempt.entries]
        if len(members) > 1:
            request.parameters[PARAMETER].string_param = to_text(members)
        metadata = _metadata(first, members[0], fingerprint)
        inputs = stack([entry.inputs for entry in attempt.entries])
        attempt.call = slot.infer(request_bytes(request, inputs), attempt.allowed, metadata)
        return attempt

    def _member(self, attempt: Attempt, entry: Entry) -> Member:
        call: Call = entry.context
        entry.attempts += 1
        call.attempts = entry.attempts
        call.tries += (attempt.told,)
        return Member(entry.rows, call.request_id, call.trace.attempt_traceparent(entry.attempts))

    def end(self, attempt: Attempt, status: StatusCode) -> None:
        """Note how the attempt ended."""
        told = attempt.told
        if not told.status:
            told.ended, told.status, told.code = now(), status.name, status.value[0]

    def answers(self, attempt: Attempt, data: Buffer) -> list[Inference]:
        """Return each entry's answer, and note on its call how long the stages took.

        Raises InvalidInput or ModelFailed for a response whose tensors cannot be read or have other rows.
        """
        response, raw = _read(data)
        outputs = read_tensors(response.outputs, raw)
        shares = split(outputs, [entry.rows for entry in attempt.entries])
        self.end(attempt, StatusCode.OK)  # before the requests are told, for they tell their traces
        told, parameters = attempt.told, response.parameters
        told.waited = waited = _seconds(parameters, QUEUE_PARAMETER)
        told.computed = computed = _seconds(parameters, COMPUTE_PARAMETER)
        told.computing_at = _seconds(parameters, COMPUTING_PARAMETER)
        hop = max(0.0, attempt.seconds() - waited - computed)
        name, version = response.model_name, response.model_version
        for entry in attempt.entries:
            call: Call = entry.context
            call.version = version
            call.queued = attempt.started - entry.queued_at
            call.hop, call.waited, call.computed = hop, waited, computed
        return [Inference(name, version, share) for share in shares]


def _read(data: Buffer) -> tuple[wire.ModelInferResponse, Sequence[Buffer]]:
    try:
        return read_response(data)
    except DecodeError as error:
        raise ModelFailed("The worker's answer is no message of the protocol.") from error


def _metadata(first: Call, member: Member, fingerprint: str) -> tuple[tuple[str, str], ...]:
    metadata: tuple[tuple[str, str], ...] = (("traceparent", member.traceparent), ("x-request-id", first.request_id))
    if first.trace.state:
        metadata += (("tracestate", first.trace.state),)
    return (*metadata, (ALONE, fingerprint)) if fingerprint else metadata


def _seconds(parameters: Mapping[str, wire.InferParameter], name: str) -> float:
    return parameters[name].int64_param / MICROSECONDS if name in parameters else 0.0
