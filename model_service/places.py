"""Where a model computes: its threads, and for a single one a second place, whose batch waits with the thread itself.

Between two batches of a thread lie a turn of the event loop and two of the scheduler: on a busy machine 2.5 ms, which
is an eighth of a model that takes 20 ms. A thread that finds its next batch before it loses nothing of that.
"""

from __future__ import annotations

from collections.abc import Sequence

from inference_core.deadline import now
from model_service.threads import ComputeThread


class Place:
    """A thread's; one that was left runs on unobserved.

    `begun_at`, of what it computes now, and `idle_since`, when its thread had nothing to do, are on the clock of
    Deadline. `rows` is what it was given last.
    """

    __slots__ = ("begun_at", "idle_since", "is_computing", "is_left", "is_on_loop", "rows", "thread")

    def __init__(self, thread: ComputeThread) -> None:
        self.thread = thread
        self.begun_at: float | None = None
        self.idle_since = 0.0
        self.rows = 0
        self.is_computing = False
        self.is_left = False
        self.is_on_loop = False

    def busy_for(self) -> float:
        """Return for how many seconds its thread has been computing what it was given; 0 before and afterwards."""
        begun_at = self.begun_at
        return now() - begun_at if self.is_computing and begun_at is not None else 0.0


class Places:
    """All places of a model. `idle` has those whose thread has nothing to do."""

    def __init__(self, threads: Sequence[ComputeThread]) -> None:
        # With several threads a batch that waits with one of them could miss that another is idle.
        self._has_second = len(threads) == 1
        self._threads = [tuple([Place(thread) for _ in range(1 + self._has_second)]) for thread in threads]
        self.idle = [places[0] for places in self._threads]
        self._ahead = [place for places in self._threads for place in places[1:]]

    def claim(self, *, may_wait: bool) -> Place | None:
        """Take a place of an idle thread or, for a batch that may wait with it, the second one of a busy thread."""
        if self.idle:
            return self.idle.pop()
        return self._ahead.pop() if may_wait and self._ahead else None

    def release(self, place: Place) -> None:
        """Give a place back that is not computing."""
        place.is_left = False
        place.idle_since = now()
        is_other_busy = self._has_second and not self._ahead
        (self._ahead if is_other_busy else self.idle).append(place)

    def ended(self, place: Place) -> None:
        """Note, in its thread, that a place's computation is over."""
        for places in self._threads:
            if place in places:
                for other in places:
                    other.idle_since = now()
        place.begun_at = None

    @property
    def rows_waiting(self) -> int:
        """How many rows wait with a thread that has not begun them."""
        places = [place for places in self._threads for place in places]
        return sum([place.rows for place in places if place.is_computing and place.begun_at is None])

    def any_computing(self) -> bool:
        """Tell whether a thread computes, or has something that it will compute."""
        return any(place.is_computing for places in self._threads for place in places)

    def all_hang(self, seconds: float) -> bool:
        """Tell whether all threads have computed for so long, and for nobody who still waits."""
        return all(any(place.is_left and place.busy_for() >= seconds for place in places) for places in self._threads)
