"""When a request must be over, as a value on the monotonic clock that is handed down the path."""

from __future__ import annotations

import time

import msgspec

from inference_core.errors import DeadlineExceeded

now = time.monotonic
"""The clock of every deadline: seconds that no adjustment of the wall clock moves."""


class Deadline(msgspec.Struct, frozen=True):
    """A point on this process's monotonic clock; it crosses to another process as the seconds that remain."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline that many seconds from now."""
        return cls(now() + seconds)

    def remaining(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self.at - now())

    def check(self) -> None:
        """Raise DeadlineExceeded once the point has passed."""
        if now() >= self.at:
            raise DeadlineExceeded("The deadline passed before the model was run.")
