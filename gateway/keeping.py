"""Which requests are kept for how they ended: failed, refused, sent again, or slow.

Which are kept whatever becomes of them was decided when they began (`otel.requests`).
"""

from __future__ import annotations

import math
from collections import defaultdict

from gateway.call import Call
from inference_core.deadline import now
from inference_core.settings import Telemetry
from otel.allowance import Allowance

UNAVAILABLE, SERVER_ERROR = 503, 500
HIT = "hit"
STEP = 0.05
FIRST_VALUES = 100
COUNTED_VALUES = 500


class Slowest:
    """Tells the slowest `share` of values from the others, and of many values a second only `most` a second.

    A mark follows them: a value above it raises it by a step, one below lowers it by so much less that the two are in
    balance where that share of the values are above: whatever their distribution, no more are told out in the long run.
    Where that would be more than `most` a second, the mark looks for the higher quantile that is not; so what is told
    stays the slowest, and telling it stays cheap.
    Source: Robbins & Monro, "A Stochastic Approximation Method", 1951, on a logarithmic scale.
    """

    def __init__(self, share: float, most: float = math.inf) -> None:
        self._share, self._most = share, most
        self._seen, self._since = 0, now()
        self._mark = 0.0
        self._aim(share)

    def exceeds(self, value: float) -> bool:
        """Note a value, and tell whether it is among the slowest; never one of the first FIRST_VALUES."""
        is_above = value > self._mark
        self._seen += 1
        if self._seen <= FIRST_VALUES:
            self._mark = max(self._mark, value)
            return False
        if not self._seen % COUNTED_VALUES:
            self._count()
        self._mark *= self._up if is_above else self._down
        return is_above

    def _count(self) -> None:
        time = now()
        most_share = self._most * (time - self._since) / COUNTED_VALUES
        self._since = time
        self._aim(min(self._share, most_share))

    def _aim(self, share: float) -> None:
        self._up, self._down = 1 + STEP * (1 - share), 1 - STEP * share


class Keeping:
    """Decides for one process. 4xx are the client's own doing and are not kept for their status."""

    def __init__(self, settings: Telemetry) -> None:
        self._is_on = bool(settings.otlp_endpoint)
        self._slow_seconds = settings.slow_seconds
        self._share = settings.slow_share
        self._slowest: defaultdict[str, Slowest] = defaultdict(
            lambda: Slowest(self._share, settings.slow_traces_per_second)
        )
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
