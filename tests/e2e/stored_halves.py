"""A request's trace as it arrives at the trace store: what the worker tells first, the gateway's half when asked."""

from __future__ import annotations

import time

from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from otel.store.query import StoredTraces
from otel.store.sending import send
from tests.e2e.system import System
from tests.otel.store.made import BEGAN, request, spans_of
from tests.waiting import wait_for


class Halves:
    """The two halves of a failed request that came just now."""

    def __init__(self, system: System, number: int) -> None:
        self._system = system
        gateway, worker = (TracesData(resource_spans=[half]) for half in request(number, status=504))
        shift = time.time_ns() - BEGAN
        for span in spans_of(gateway) + spans_of(worker):
            span.start_time_unix_nano += shift
            span.end_time_unix_nano += shift
        self._gateway, self._worker = gateway, worker
        self.trace_id = spans_of(worker)[0].trace_id.hex()

    def store_workers(self) -> None:
        """Return when the worker's half can be read."""
        self._send(self._worker)
        stored = StoredTraces(self._system.run_folder / "traces.sqlite")
        wait_for(lambda: stored.trace(self.trace_id), "the worker's half", 30)

    def store_gateways(self) -> None:
        """Send what was missing."""
        self._send(self._gateway)

    def _send(self, half: TracesData) -> None:
        send(half, f"127.0.0.1:{self._system.jaeger_ports['OTLP_GRPC']}")
