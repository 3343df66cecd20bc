"""A batch's own trace is told once, whenever its calls are told."""

from __future__ import annotations

import asyncio

from grpc import StatusCode
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from inference_core.deadline import now
from model_service.call import BatchTrace, Computation
from model_service.call_spans import CallSpans, Ended
from otel.gathering import GATHER_SECONDS
from tests.model_service.worker import call_to
from tests.otel.recorded import recorder_to


def ended(batch: BatchTrace, index: int) -> Ended:
    """Return the call at that place of a batch of two, which is kept."""
    call, time = call_to(f"r{index}"), now()
    computed = Computation(batch, time, time, waited=False)
    computed.index, computed.batch_requests, computed.batch_rows, computed.ended_at = index, 2, 2, time
    call.model, call.version, call.computation = "double", "1", computed
    return Ended(call, StatusCode.OK, time, "slow")


async def test_calls_that_are_told_apart_are_one_batch() -> None:
    """The other calls of a batch may be recorded as much later as gathering takes; it has one span, with all links."""
    exporter, batch = InMemorySpanExporter(), BatchTrace()
    spans = CallSpans(recorder_to(exporter))
    spans.record(ended(batch, 0))
    later = asyncio.Event()
    asyncio.get_running_loop().call_later(GATHER_SECONDS, later.set)
    await later.wait()
    spans.record(ended(batch, 1))
    spans.close()
    (told,) = [span for span in exporter.get_finished_spans() if span.name == "batch double"]
    assert [(link.attributes or {})["app.batch.index"] for link in told.links] == [0, 1]
