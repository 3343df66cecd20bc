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
        self._burst_seconds = max(1.0, self._interval) if per_second else 0.0
        self._full_at = 0.0 if per_second else math.inf
        self.left_out = 0

    def take(self) -> bool:
        """Tell whether one more may pass now."""
        now = time.monotonic()
        full_at = max(self._full_at, now) + self._interval
        if full_at - now > self._burst_seconds + ROUNDING_SECONDS:
            self.left_out += 1
            return False
        self._full_at = full_at
        return True

    def reset(self) -> int:
        """Return how many were left out since the last call."""
        count, self.left_out = self.left_out, 0
        return count
