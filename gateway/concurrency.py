"""How many batches of one model are worth having under way at once.

Between a batch's departure and its answer lie the hop, which this process and the worker's border work on, and the
model's own time. Only the latter goes on without this process: for a model that takes no time beside the hop, a second
batch under way gains nothing, and both are smaller, so that the hop is paid more often for the same requests.
"""

from __future__ import annotations

import math

from gateway.hedging import Stalls

WEIGHT = 0.1
"""Of a new measurement against all before it."""

NO_SECONDS = 1e-9
PATIENCE_FACTOR = 2.0
LEAST_PATIENCE_SECONDS = 0.002


class Concurrency:
    """Learns from each answered batch; until it has, and for slow models, as many are useful as there are places."""

    def __init__(self) -> None:
        self._hop = 0.0
        self._elsewhere = 0.0
        self.useful = math.inf

    def note(self, hop: float, elsewhere: float) -> None:
        """Note the seconds that an answered batch took on its way and, `elsewhere`, in the worker's queue and model."""
        if not self._hop:
            self._hop, self._elsewhere = hop, elsewhere
        self._hop += WEIGHT * (hop - self._hop)
        self._elsewhere += WEIGHT * (elsewhere - self._elsewhere)
        self.useful = 1 + round(self._elsewhere / self._hop) if self._hop > NO_SECONDS else math.inf

    def pause(self, running: int, stalls: Stalls) -> float:
        """Return for how many seconds an idle place is better left idle while so many batches are under way.

        0 as soon as all of those take longer than usual: what is late may be for long, and nobody is to wait for it.
        """
        if running < self.useful:
            return 0.0
        patience = max(LEAST_PATIENCE_SECONDS, PATIENCE_FACTOR * stalls.durations.median)
        return max(0.0, patience - stalls.newest_seconds())
