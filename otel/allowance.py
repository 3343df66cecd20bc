"""So many a second: the bound on what is kept of things that all look alike, such as traces and success lines."""

from __future__ import annotations

import time


class Allowance:
    """Lets `per_second` through in each second, evenly refilled; `left_out` counts the others since `reset`."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._tokens = per_second
        self._at = time.monotonic()
        self.left_out = 0

    def take(self) -> bool:
        """Tell whether one more may pass now."""
        now = time.monotonic()
        self._tokens = min(max(self._per_second, 1.0), self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return True
        self.left_out += 1
        return False

    def reset(self) -> int:
        """Return how many were left out since the last call."""
        count, self.left_out = self.left_out, 0
        return count
