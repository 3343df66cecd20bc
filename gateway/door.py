"""Who is turned away before the body is read: for want of memory, or because too much of it is on its way already.

What a model's own queue has to say comes later, when the body has told which model is meant. Requests without a body
(health, readiness, metrics) are never turned away.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

from gateway.http_refusal import Refusal
from inference_core import heap
from inference_core.deadline import now
from inference_core.settings import Gateway

SAMPLE_SECONDS = 0.25
FREE_SECONDS = 5.0
HIGH_SHARE = 0.85
LARGE_BYTES = 64 * 1024
STATM = Path("/proc/self/statm")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
AGAIN = ((b"retry-after", b"1"),)
NO_MEMORY = Refusal(503, "This gateway process has no memory left for more requests; try again in a second.", AGAIN)
LITTLE_MEMORY = Refusal(503, "This gateway process has no memory left for a large body; try again in a second.", AGAIN)
MANY_BYTES = Refusal(503, "Too much is being sent to this gateway process at once; try again in a second.", AGAIN)


def resident_bytes() -> int:
    """Return the memory that this process holds (proc(5), statm)."""
    return int(STATM.read_text().split()[1]) * PAGE_BYTES


class Door:
    """Counts the declared bodies that are being read or answered, and watches the memory of the process."""

    def __init__(self, settings: Gateway) -> None:
        self._limit = settings.memory_limit_bytes
        self._most_bytes = settings.max_queue_bytes
        self._sampled_at = self._freed_at = 0.0
        self._share = 0.0
        self.bytes = 0

    @property
    def is_tight(self) -> bool:
        """Whether memory is so high that connections should be given up after their answer."""
        return self._share >= HIGH_SHARE

    def refusal(self, length: int) -> Refusal | None:
        """Return why a request with that many bytes of body is turned away, or None."""
        if now() - self._sampled_at > SAMPLE_SECONDS:
            self._sample()
        if self._share >= HIGH_SHARE:
            if self._share >= 1.0:
                return NO_MEMORY
            if length > LARGE_BYTES:
                return LITTLE_MEMORY
        return MANY_BYTES if self.bytes and self.bytes + length > self._most_bytes else None

    def _sample(self) -> None:
        self._sampled_at = now()
        self._share = resident_bytes() / self._limit
        if self.is_tight and self._sampled_at - self._freed_at > FREE_SECONDS:
            # Before somebody is turned away for memory that nobody uses: an idle process gives none back by itself.
            gc.collect()
            heap.give_back()
            self._freed_at = now()
            self._share = resident_bytes() / self._limit
