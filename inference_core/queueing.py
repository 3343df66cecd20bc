"""What a queue says about its load: how fast it drains, and whether it stands."""

from __future__ import annotations

import math

MEMORY_SECONDS = 1.0
RECENT_DURATIONS = 256
REFRESH_EVERY = 32
REFUSED_SHARE, HARDLY_ANY = 0.05, 0.5


class DrainRate:
    """Rows per second that leave a queue, measured only while more wait than a batch takes: the rate of the consumers.

    Both sums decay with MEMORY_SECONDS, so that a lost or a new consumer shows within about a second.
    """

    def __init__(self) -> None:
        self._rows = 0.0
        self._seconds = 0.0
        self._since: float | None = None
        self.measured_at = 0.0

    @property
    def per_second(self) -> float:
        """The rate; 0 while nothing was measured."""
        return self._rows / self._seconds if self._seconds else 0.0

    def seconds_for(self, rows: int) -> float:
        """Return how long that many rows wait; 0 while nothing was measured."""
        return rows * self._seconds / self._rows if self._rows else 0.0

    def drained(self, rows: int, time: float, *, waiting: bool) -> None:
        """Note that a batch of that many rows ended at a time in seconds, and whether it had left others waiting."""
        if self._since is not None and waiting:
            elapsed = time - self._since
            kept = math.exp(-elapsed / MEMORY_SECONDS)
            self._rows = self._rows * kept + rows
            self._seconds = self._seconds * kept + elapsed
            self.measured_at = time
        self._since = time if waiting else None

    def pause(self) -> None:
        """Note that consumers are away: the time until they are back says nothing about their rate."""
        self._since = None


class StandingQueue:
    """Tells a standing queue from a burst: the least delay within an interval stays above a target.

    A queue that stands refuses whoever would wait for longer than the target, and so has a good delay again soon; but
    what it refuses is still being sent, and would fill it at once. So it goes on standing while more than REFUSED_SHARE
    of what arrives is refused, until nobody has waited in it for an interval: then what came was a burst.
    Source: Nichols & Jacobson, "Controlling Queue Delay", ACM Queue 2012 (CoDel), as a detector only.
    """

    def __init__(self) -> None:
        self._ends, self._least, self.stands = 0.0, math.inf, False
        self._arrived = self._refused = self._empty_since = 0.0

    def admitted(self) -> None:
        """Count an arrival that may wait."""
        self._arrived += 1

    def refused(self) -> None:
        """Count an arrival that may not."""
        self._arrived += 1
        self._refused += 1

    def observe(self, delay: float, target: float, interval: float, time: float) -> None:
        """Note how many seconds the oldest entry has waited, with the delay that is still good."""
        if delay <= target and not self._goes_on:
            self.clear()
            return
        if not self._ends:
            self._ends = time + interval
        self._least = min(self._least, delay)
        if time >= self._ends:
            self.stands = self._least > target or self._goes_on
            self._ends, self._least = time + interval, math.inf
            self._arrived, self._refused = self._arrived / 2, self._refused / 2

    def emptied(self, time: float) -> None:
        """Note that nobody waits any more."""
        self._empty_since = time
        if not self._goes_on:
            self.clear()

    def resumed(self, interval: float, time: float) -> None:
        """Note that somebody waits again."""
        if time - self._empty_since > interval:
            self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._ends, self._least, self.stands = 0.0, math.inf, False
        self._arrived = self._refused = 0.0

    @property
    def _goes_on(self) -> bool:
        return self.stands and self._refused > max(HARDLY_ANY, REFUSED_SHARE * self._arrived)


class Durations:
    """The last durations of a kind of work, in seconds, with their median and 99th percentile."""

    def __init__(self) -> None:
        self._recent: list[float] = []
        self._next = 0
        self._stale = 0
        self.median = 0.0
        self.p99 = 0.0

    def __len__(self) -> int:
        return len(self._recent)

    def add(self, seconds: float) -> None:
        """Note one duration; the percentiles follow within REFRESH_EVERY of them."""
        if len(self._recent) < RECENT_DURATIONS:
            self._recent.append(seconds)
        else:
            self._recent[self._next] = seconds
            self._next = (self._next + 1) % RECENT_DURATIONS
        self._stale += 1
        if self._stale >= REFRESH_EVERY or len(self._recent) <= REFRESH_EVERY:
            self._refresh()

    def _refresh(self) -> None:
        self._stale = 0
        ordered = sorted(self._recent)
        self.median = ordered[len(ordered) // 2]
        self.p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
