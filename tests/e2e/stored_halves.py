"""A request's trace as it arrives at the trace store: what the worker tells first, the gateway's half when asked."""

from __future__ import annotations

import time

from tests.e2e.system import System
from tests.otel.store.made import BEGAN, request
from tests.waiting import wait_for


class Halves:
    """The two halves of a failed request that came just now."""

    def __init__(self, system: System, number: int) -> None:
        self._system = system
        self._gateway, self._worker = halves = request(number, status=504)
        shift = time.time_ns() - BEGAN
        for half in halves:
            for span in half.scope_spans[0].spans:
                span.start_time_unix_nano += shift
                span.end_time_unix_nano += shift
        self.trace_id = self._worker.scope_spans[0].spans[0].trace_id.hex()

    def store_workers(self) -> None:
        """Return when the worker's half can be read."""
        self._system.send_spans(self._worker)
        stored = self._system.stored()
        wait_for(lambda: stored.trace(self.trace_id), "the worker's half", 30)

    def store_gateways(self) -> None:
        """Send what was missing."""
        self._system.send_spans(self._gateway)
