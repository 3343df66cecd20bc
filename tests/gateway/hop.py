"""The gateway's side of the hop over one to three fake workers, without HTTP."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from gateway.call import Call
from gateway.dispatch import Dispatcher
from gateway.request_spans import Ended, Observed, RequestSpans
from gateway.slots import State
from gateway.tally import Tally
from gateway.workers import Workers
from inference_core.deadline import Deadline, now
from inference_core.inference import Inference
from inference_core.settings import Gateway, Telemetry
from inference_core.tensors import Arrays
from otel.metrics import GatewayMetrics
from otel.requests import RequestTraces
from tests.gateway.fake_worker import FakeWorker, Running, serving
from tests.otel.recorded import recorder_to
from tests.waiting import eventually

MEGABYTE = 1024 * 1024
MODEL = "tiny"
LONG_ENOUGH = 10.0


class Spans:
    """Recorded spans in memory; all requests are kept."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._requests = RequestSpans(recorder_to(self._exporter))
        self.traces = RequestTraces(Telemetry(otlp_endpoint="http://127.0.0.1:1", sample_ratio=1.0))

    def end(self, call: Call, started: float, status: int) -> None:
        """Record a request that has ended, as an observer does."""
        observed = Observed("POST", call.request_id, call.trace, started)
        self._requests.record(Ended(observed, call.trace.kept, now(), "/predict", status, call))

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the recorded spans of that name."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


def tally() -> Tally:
    """Return a tally of this process alone."""
    return Tally(GatewayMetrics(CollectorRegistry()))


@dataclass
class Hop:
    """A dispatcher and the fake workers behind it."""

    dispatcher: Dispatcher
    workers: Workers
    running: Sequence[Running]
    spans: Spans
    numbers: itertools.count[int]

    @property
    def fakes(self) -> list[FakeWorker]:
        """The fake workers."""
        return [running.worker for running in self.running]

    def call(self, seconds: float = LONG_ENOUGH, **more: object) -> Call:
        """Return a request's own part, with a new id unless `request_id` is given."""
        request_id = str(more.pop("request_id", f"r{next(self.numbers)}"))
        traceparent, tracestate = str(more.pop("traceparent", "")), str(more.pop("tracestate", ""))
        trace = self.spans.traces.begin(traceparent, tracestate)
        return Call(Deadline.after(seconds), request_id, trace, **more)  # type: ignore[arg-type]  # as the test gave it

    async def ask(
        self,
        *values: float,
        model: str = MODEL,
        version: str = "",
        call: Call | None = None,
        seconds: float = LONG_ENOUGH,
    ) -> Inference:
        """Ask for one row for each value; the worker's class for a row is its value."""
        call, started, status = call or self.call(seconds), now(), 500
        try:
            answer = await self.dispatcher.infer(model, rows(*values), call, version)
            status = 200
            return answer
        finally:
            self.spans.end(call, started, status)

    async def ask_all(self, count: int, first: int = 0, seconds: float = LONG_ENOUGH) -> list[int | BaseException]:
        """Ask for that many rows at once, each in a request of its own; return the classes or errors."""
        asked = (self.ask(value, seconds=seconds) for value in range(first, first + count))
        results = await asyncio.gather(*asked, return_exceptions=True)
        return [result if isinstance(result, BaseException) else class_of(result) for result in results]

    async def ready(self, count: int | None = None) -> None:
        """Wait until that many workers, or all, are ready."""
        wanted = len(self.running) if count is None else count
        await eventually(lambda: self.states().count(State.READY) == wanted, f"{wanted} ready workers")

    def states(self) -> list[State]:
        """Return the state of each slot."""
        return [slot.state for slot in self.workers.slots]

    def is_idle(self) -> bool:
        """Tell whether no place is taken and nothing waits."""
        slots = self.workers.slots
        queues = self.dispatcher.queues.values()
        return (
            not any(slot.batches or any(slot.in_flight.values()) for slot in slots)
            and self.workers._isolation.slot_now() is None
            and not any(queue.batcher.queued_rows or queue.batcher.running for queue in queues)
        )

    async def idle(self) -> None:
        """Wait until every place is free again: whatever happened, none may be lost."""
        await eventually(self.is_idle, "the return of all places")


def rows(*values: float) -> Arrays:
    """Return input rows that begin with these values."""
    return {"features": np.array([[value, 0.5] for value in values], "<f4")}


def class_of(inference: Inference) -> int:
    """Return the only row's class."""
    (found,) = inference.outputs["class_id"]
    return int(found)


@asynccontextmanager
async def hop(*fakes: FakeWorker, healthy: bool = True, **settings: object) -> AsyncIterator[Hop]:
    """Serve the fakes and connect a dispatcher to them; wait until they are ready if they are `healthy`."""
    spans = Spans()
    gateway = msgspec.convert(settings, Gateway)
    with tempfile.TemporaryDirectory(prefix="hop-") as folder:
        sockets = [Path(folder) / f"{number}.sock" for number in range(len(fakes))]
        async with AsyncExitStack() as stack:
            running = [
                await stack.enter_async_context(serving(fake, socket, healthy=healthy))
                for fake, socket in zip(fakes, sockets, strict=True)
            ]
            workers = Workers(sockets, MEGABYTE, gateway.batches_in_flight)
            hop = Hop(Dispatcher(workers, gateway, tally()), workers, running, spans, itertools.count())
            workers.connect()
            try:
                if healthy:
                    await hop.ready()
                yield hop
            finally:
                await hop.dispatcher.close()
                await workers.close()
