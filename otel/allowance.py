"""So many a second: the bound on what is kept of things that all look alike, such as traces and success lines.

Source: the Generic Cell Rate Algorithm (ITU-T I.371): one number says until when the allowance is used up.
"""

from __future__ import annotations

import math
import time

ROUNDING_SECONDS = 1e-6


class Allowance:
    """Lets `per_second` through in each second, evenly refilled; `left_out` counts the others since `reset`."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second if per_second else math.inf
        self._spare = max(1.0, self._interval) - self._interval if per_second else 0.0
        self._opens_at = -self._spare if per_second else math.inf
        self.left_out = 0

    def take(self) -> bool:
        """Tell whether one more may pass now."""
        now = time.monotonic()
        if now < self._opens_at - ROUNDING_SECONDS:
            self.left_out += 1
            return False
        self._opens_at = max(self._opens_at, now - self._spare) + self._interval
        return True

    def reset(self) -> int:
        """Return how many were left out since the last call."""
        count, self.left_out = self.left_out, 0
        return count
