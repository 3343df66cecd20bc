"""How many workers died with an input that nobody else explains, remembered beyond the request that brought it.

A client that gives up, or whose deadline is short, asks again with the same input: without a memory each time would
begin a new count. An answer clears an input, so that one which is merely popular is never kept apart for long.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from gateway.quarantine import fingerprint_of
from inference_core.batching import Entry
from inference_core.deadline import now

MOST = 4096
SECONDS = 60.0


class Suspicions:
    """Deaths by fingerprint, for SECONDS each; costs nothing while there are none.

    `survived` is told of an input that was answered all the same.
    """

    def __init__(self, survived: Callable[[bytes], object]) -> None:
        self._survived = survived
        self._deaths: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._deaths)

    def note(self, model: str, entries: Iterable[Entry], version: str = "") -> None:
        """Count one more death for each different input."""
        until = now() + SECONDS
        for fingerprint in {fingerprint_of(model, entry.inputs, version) for entry in entries}:
            count, _ = self._deaths.pop(fingerprint, (0, 0.0))
            self._deaths[fingerprint] = (count + 1, until)
        while len(self._deaths) > MOST:
            self._deaths.popitem(last=False)

    def deaths(self, model: str, entry: Entry, version: str = "") -> int:
        """Return how many workers died with an entry's input lately."""
        while self._deaths and next(iter(self._deaths.values()))[1] <= now():
            self._deaths.popitem(last=False)
        if not self._deaths:
            return 0
        return self._deaths.get(fingerprint_of(model, entry.inputs, version), (0, 0.0))[0]

    def clear(self, model: str, entries: Iterable[Entry], version: str = "") -> None:
        """Forget inputs that were answered."""
        if self._deaths:
            for entry in entries:
                fingerprint = fingerprint_of(model, entry.inputs, version)
                if self._deaths.pop(fingerprint, None) is not None:
                    self._survived(fingerprint)
