"""What happens to the requests of a batch that was lost with its worker, and of one that its worker refused whole.

Lost once: again, in two halves. Lost twice: alone, at a worker that runs nothing else. Lost a third time: that input
kills workers, gets its answer and is remembered. So the neighbours of such an input get theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

from inference_core.batching import Entry

LOSS_BURST = 2048.0
HEDGE_BURST = 256.0


class RetryBudget:
    """How much may be sent again: `ratio` for each request that arrived, and up to `burst` saved for a bad moment."""

    def __init__(self, ratio: float, burst: float) -> None:
        self._ratio = ratio
        self._burst = burst if ratio else 0.0
        self._tokens = self._burst

    def earn(self) -> None:
        """Note a request that arrived."""
        self._tokens = min(self._burst, self._tokens + self._ratio)

    def spend(self, count: int) -> bool:
        """Take that many, if there are as many."""
        if count > self._tokens:
            return False
        self._tokens -= count
        return True


def halved(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return the entries in two parts, with keys that keep the parts from meeting in one batch again."""
    middle = (len(entries) + 1) // 2
    halves = [list(half) for half in (entries[:middle], entries[middle:]) if half]
    for half in halves:
        together = object()
        for entry in half:
            entry.key = (entry.key, together)
    return halves
