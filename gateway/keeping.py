"""Which requests are kept for how they ended: failed, refused, sent again, or slow.

Which are kept whatever becomes of them was decided when they began (`otel.requests`).
"""

from __future__ import annotations

from collections import defaultdict

from gateway.call import Call
from inference_core.settings import Telemetry
from otel.allowance import Allowance

UNAVAILABLE, SERVER_ERROR = 503, 500
HIT = "hit"
STEP = 0.05
FIRST_VALUES = 100


class Slowest:
    """Tells the slowest `share` of values from the others, by a mark that follows them.

    A value above the mark raises it by a step, one below lowers it by so much less that the two are in balance where
    `share` of the values are above: whatever their distribution, no more than that are told out in the long run.
    Source: Robbins & Monro, "A Stochastic Approximation Method", 1951, on a logarithmic scale.
    """

    def __init__(self, share: float) -> None:
        self._up, self._down = 1 + STEP * (1 - share), 1 - STEP * share
        self._seen = 0
        self._mark = 0.0

    def exceeds(self, value: float) -> bool:
        """Note a value, and tell whether it is among the slowest; never one of the first FIRST_VALUES."""
        is_above = value > self._mark
        if self._seen < FIRST_VALUES:
            self._seen += 1
            self._mark = max(self._mark, value)
            return False
        self._mark *= self._up if is_above else self._down
        return is_above


class Keeping:
    """Decides for one process. 4xx are the client's own doing and are not kept for their status."""

    def __init__(self, settings: Telemetry) -> None:
        self._is_on = bool(settings.otlp_endpoint)
        self._slow_seconds = settings.slow_seconds
        self._share = settings.slow_share
        self._slowest: defaultdict[str, Slowest] = defaultdict(lambda: Slowest(self._share))
        self.refusals = Allowance(settings.refused_traces_per_second)

    def reason(self, status: int, seconds: float, call: Call | None) -> str:
        """Return why a request is kept that ended with a status after so many seconds; empty where it is not."""
        if not self._is_on:
            return ""
        if status == UNAVAILABLE:
            return "refused" if self.refusals.take() else ""
        if status >= SERVER_ERROR:
            return "failed"
        if call is None or call.cache == HIT:
            return ""
        # Not every value of `share` needs a mark, but each request has to be noted for it.
        is_slow = bool(self._share) and bool(call.version) and self._slowest[call.model].exceeds(seconds)
        if call.attempts > 1:
            return "replayed"
        return "slow" if is_slow or seconds > self._slow_seconds else ""
