"""How long requests took and where, in arrays of numbers.

A list of the requests themselves would keep the memory of half a second's requests from being used again at
once, and that cost more than the counting.
"""

from __future__ import annotations

from array import array

import numpy as np

from gateway.call import Call
from otel.metrics import GatewayMetrics, observe_all

COLUMNS = 6


class Times:
    """The requests to one version of a model that ended with one status, since the last flush; in seconds."""

    __slots__ = ("_stages", "_totals")

    def __init__(self) -> None:
        self._totals = array("d")
        self._stages = array("d")

    def note(self, seconds: float) -> None:
        """Note a request that took so long and of whose stages nothing is known."""
        self._totals.append(seconds)

    def note_stages(self, call: Call, received: float, seconds: float) -> None:
        """Note a request that a worker answered; `received` is how long it took to the queue's door."""
        self._stages.extend((received, call.queued, call.hop, call.waited, call.computed, seconds))

    def flush(self, metrics: GatewayMetrics, model: str, version: str, code: int) -> None:
        """Add them to the metrics. What is not explained by the stages before is the way back to the client."""
        stages = np.array(self._stages).reshape(-1, COLUMNS)
        metrics.requests.labels(model, version, str(code)).inc(len(self._totals) + len(stages))
        took = stages[:, -1]
        observe_all(metrics.request.labels(model, version), np.concatenate((self._totals, took)))
        if not len(stages):
            return
        known = (metrics.receive, metrics.queue, metrics.hop, metrics.worker_queue, metrics.compute)
        for histogram, seconds in zip(known, stages.T, strict=False):
            observe_all(histogram.labels(model, version), seconds)
        rest = np.maximum(0.0, took - stages[:, :-1].sum(axis=1))
        observe_all(metrics.respond.labels(model, version), rest)
