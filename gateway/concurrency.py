"""How many batches of one model are worth having under way at once.

Between a batch's departure and its answer lie the hop, which this process and the worker's border work on, and the
model's own time. Only the latter goes on without this process: for a model that takes no time beside the hop, a second
batch under way gains nothing, and both are smaller, so that the hop is paid more often for the same requests.

Other processes send batches to the same workers. Where these are so many that a batch waits there as long as it is
computed, a partial one takes the turn of a full one; so there is no second partial batch under way then.
"""

from __future__ import annotations

import math

from gateway.hedging import Stalls

WEIGHT = 0.1
"""Of a new measurement against all before it."""

NO_SECONDS = 1e-9
CONTENDED_SHARE = 0.5
"""Of the time that it is computed a batch waits in the worker for others; all of it where one always is before it."""

PATIENCE_FACTOR = 2.0
LEAST_PATIENCE_SECONDS = 0.002


class Concurrency:
    """Learns from each answered batch; until it has, and for slow models, as many are useful as there are places."""

    def __init__(self) -> None:
        self._hop = self._waited = self._computed = 0.0
        self.useful = math.inf
        self.useful_partial = math.inf

    def note(self, hop: float, waited: float, computed: float) -> None:
        """Note the seconds that an answered batch took on its way, in the worker's queue and in the model."""
        if not self._hop:
            self._hop, self._waited, self._computed = hop, waited, computed
        self._hop += WEIGHT * (hop - self._hop)
        self._waited += WEIGHT * (waited - self._waited)
        self._computed += WEIGHT * (computed - self._computed)
        elsewhere = self._waited + self._computed
        self.useful = 1 + round(elsewhere / self._hop) if self._hop > NO_SECONDS else math.inf
        self.useful_partial = 1 if self._waited > CONTENDED_SHARE * self._computed else self.useful

    def pause(self, running: int, stalls: Stalls, *, is_full: bool) -> float:
        """Return for how many seconds an idle place is better left idle while so many batches are under way.

        `is_full`: a whole batch waits. 0 as soon as all of those under way take longer than usual: what is late may be
        for long, and nobody is to wait for it.
        """
        if running < (self.useful if is_full else self.useful_partial):
            return 0.0
        patience = max(LEAST_PATIENCE_SECONDS, PATIENCE_FACTOR * stalls.durations.median)
        return max(0.0, patience - stalls.newest_seconds())
