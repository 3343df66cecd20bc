"""One request across the hop: arrays to a worker and back, statuses to errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import grpc
from grpc import StatusCode
from opentelemetry.trace import SpanKind, Tracer

from gateway.call import Call
from gateway.workers import INFER, Workers
from inference_core import errors
from inference_core.inference import Inference
from inference_core.tensors import Arrays, read_tensors, write_inputs
from inference_pb import open_inference_pb2 as wire
from otel import tracing

METHOD = INFER.removeprefix("/")
RETURN_SECONDS = 0.02
"""Kept back from the hop, so that also the answer to a missed deadline leaves before that deadline."""
LOST = "No inference worker is ready; see GET /ready, and try again."
FULL = "The inference worker takes no more at the moment; try again."
LATE = "The deadline passed before the model answered; send a longer X-Request-Timeout or ask for less."

ERRORS: Mapping[StatusCode, Callable[[str], errors.InferenceHubError]] = {
    StatusCode.INVALID_ARGUMENT: errors.InvalidInput,
    StatusCode.NOT_FOUND: errors.UnknownModel,
    StatusCode.RESOURCE_EXHAUSTED: lambda _: errors.Overloaded(FULL),
    StatusCode.UNAVAILABLE: lambda _: errors.NoWorker(LOST),
    StatusCode.CANCELLED: lambda _: errors.NoWorker(LOST),
    StatusCode.DEADLINE_EXCEEDED: lambda _: errors.DeadlineExceeded(LATE),
    StatusCode.INTERNAL: errors.ModelFailed,
}
"""What a worker's status means here; any other is a failed worker."""


class Dispatcher:
    """Sends requests to whichever worker is ready."""

    def __init__(self, workers: Workers, tracer: Tracer) -> None:
        self._workers = workers
        self._tracer = tracer

    async def infer(self, model: str, inputs: Arrays, call: Call) -> Inference:
        """Return a model's outputs for named input arrays.

        Raises the errors that ERRORS lists; NoWorker instead of DeadlineExceeded when nobody was there to ask.
        """
        request = wire.ModelInferRequest(model_name=model, id=call.request_id)
        write_inputs(request, inputs)
        span = tracing.start_rpc_span(self._tracer, SpanKind.CLIENT, METHOD)
        metadata = (*tracing.metadata_of(span), ("x-request-id", call.request_id))
        status = StatusCode.CANCELLED
        try:
            response = await self._workers.infer(request, timeout=_hop_seconds(call), metadata=metadata)
            status = StatusCode.OK
        except grpc.aio.AioRpcError as error:
            status = error.code()
            raise self._translated(error) from error
        finally:
            tracing.end_rpc_span(span, status.name, status.value[0], failed=status is not StatusCode.OK)
        outputs = read_tensors(response.outputs, response.raw_output_contents)
        return Inference(response.model_name, response.model_version, outputs)

    def _translated(self, error: grpc.aio.AioRpcError) -> errors.InferenceHubError:
        status = error.code()
        if status is StatusCode.DEADLINE_EXCEEDED and not self._workers.is_connected():
            return errors.NoWorker(LOST)
        return ERRORS.get(status, errors.ModelFailed)(error.details() or f"The worker answered {status.name}.")


def _hop_seconds(call: Call) -> float:
    remaining = call.deadline.remaining()
    return max(remaining - RETURN_SECONDS, remaining / 2)
