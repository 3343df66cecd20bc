"""Who may wait: bounds on a queue, in rows, bytes and time, and what happens to a queue that stands.

The signal is the delay before a batch starts. Latency is none: batches grow with the load on purpose, so it rises long
before anything is wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from inference_core.deadline import Deadline
from inference_core.errors import Overloaded
from inference_core.lanes import Lanes, Queued
from inference_core.queueing import DrainRate, Durations, StandingQueue

INTERVAL_SECONDS = 0.1
INTERVAL_BATCHES = 2
BACKGROUND_SHARE = 0.5
BURST_SHARE, DEADLINE_SHARE = 0.5, 0.25
"""Of a request's deadline may be spent in the queue: in a burst, and while the queue stands."""

SHED_AFTER_TARGETS = 2
STALE_SECONDS, STALE_BATCHES = 2.0, 4
SENTENCES = {
    "full": "Too many requests wait for this model; try again later.",
    "deadline": "The queue takes too much of this request's deadline; try again later, or allow more time.",
    "standing": "More requests arrive for this model than it can answer; try again later.",
}


class Waiting(Queued, Protocol):
    """What admission needs to know of an entry; `size` in bytes."""

    deadline: Deadline
    size: int


W = TypeVar("W", bound=Waiting)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one queue. `target_delay` is how many seconds an entry may wait while the queue stands.

    `sheds`: entries that batches have left behind for much longer leave unanswered, and the newest go first, for a
    queue whose callers nobody else holds back. `expected_batches` may be here at once without anybody asking too
    much: callers that bound themselves hold as many, and what they wait for each other is no standing queue.
    """

    max_queue_rows: int
    max_queue_bytes: int
    target_delay: float
    sheds: bool = False
    expected_batches: int = 1


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """Why a request is refused, one of SENTENCES' words, and for how many seconds it would have waited."""

    reason: str
    wait_seconds: float


class Account:
    """What one class of entries has in the queue."""

    __slots__ = ("bytes", "rows", "standing")

    def __init__(self) -> None:
        self.rows = 0
        self.bytes = 0
        self.standing = StandingQueue()


class Admission:
    """Counts one queue, measures how it drains, and refuses what would only be late.

    `rows` and `bytes` are what waits. Background entries may fill BACKGROUND_SHARE of the limits, so that however many
    of them wait there is room for others.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.rows = 0
        self.bytes = 0
        self._accounts = (Account(), Account())
        self._consumers_since = 0.0
        self._formed: deque[float] = deque()
        self._time = 0.0
        self.rate = DrainRate()
        self.batch_seconds = Durations()

    @property
    def newest_first(self) -> bool:
        """Whether the next batch is to be made of the newest entries."""
        return self._limits.sheds and self._accounts[0].standing.stands

    def admit(self, entry: Waiting, time: float) -> None:
        """Count an entry in; raises Overloaded where it cannot be answered in time. One may always wait."""
        if self.rows and self._is_full(entry):
            raise self.refusal(entry, "full")
        self.check(entry.deadline.at - time, time, background=entry.background)
        self._accounts[entry.background].standing.admitted()
        self.put_back(entry)

    def put_back(self, entry: Waiting) -> None:
        """Count an entry in that was admitted before."""
        self.rows += entry.rows
        self.bytes += entry.size
        account = self._accounts[entry.background]
        account.rows += entry.rows
        account.bytes += entry.size

    def formed(self, time: float) -> None:
        """Note that a batch leaves now, and who still waits is left behind."""
        if self._limits.sheds:
            self._formed.append(time)

    def left(self, entries: Iterable[Waiting]) -> None:
        """Count entries out."""
        for entry in entries:
            self.rows -= entry.rows
            self.bytes -= entry.size
            account = self._accounts[entry.background]
            account.rows -= entry.rows
            account.bytes -= entry.size
            if not account.rows:
                account.standing.emptied(self._time)

    def drained(self, rows: int, seconds: float, time: float, *, leaves_others: bool) -> None:
        """Note a batch that ended at `time` after `seconds`, with that many rows answered.

        Only batches that left others behind tell how fast the queue can drain; the others took all there was.
        """
        if rows:
            self.batch_seconds.add(seconds)
            self.rate.drained(rows, time, waiting=leaves_others)
        else:
            self.rate.pause()

    def stalled(self, time: float) -> None:
        """Note that there is no consumer at all now: what the queue waits for them says nothing about its load."""
        self._consumers_since = time
        self.rate.pause()
        for account in self._accounts:
            account.standing.clear()

    def shed(self, lanes: Lanes[W], time: float) -> Sequence[W]:
        """Observe the queue just before a batch is formed, and return the entries that must leave unanswered."""
        self._time, target, interval = time, self._target, self._interval
        unheld = time - lanes.max_delay  # what waits for others to share its batch does so on purpose
        for background in (False, True):
            oldest = lanes.oldest(background=background)
            if oldest is not None:
                delay = unheld - max(oldest, self._consumers_since)
                self._accounts[background].standing.observe(delay, target, interval, time)
        since, formed = unheld - SHED_AFTER_TARGETS * target, self._formed
        while len(formed) > 1 and formed[1] <= since:
            formed.popleft()
        # Whom no batch left behind before that waits for a long one to end, and not because too many have come.
        is_late = self.newest_first and since > self._consumers_since and formed and formed[0] <= since
        return lanes.older_than(formed[0]) if is_late else ()

    def refusal(self, entry: Waiting, reason: str) -> Overloaded:
        """Return the error for an entry that is turned away."""
        return Overloaded(SENTENCES[reason], reason, self._wait(entry.background))

    def _is_full(self, entry: Waiting) -> bool:
        rows, size = self._limits.max_queue_rows, self._limits.max_queue_bytes
        if self.rows + entry.rows > rows or self.bytes + entry.size > size:
            return True
        if not entry.background:
            return False
        account = self._accounts[True]
        return (
            account.rows + entry.rows > rows * BACKGROUND_SHARE or account.bytes + entry.size > size * BACKGROUND_SHARE
        )

    def check(self, remaining: float, time: float, *, background: bool) -> None:
        """Raise Overloaded where a request with so many seconds left would be late, before anything is made of it."""
        verdict = self.verdict(remaining, time, background=background)
        if verdict is not None:
            raise Overloaded(SENTENCES[verdict.reason], verdict.reason, verdict.wait_seconds)

    def verdict(self, remaining: float, time: float, *, background: bool) -> Verdict | None:
        """Return why `check` would raise, or None: of many requests that are refused, an error for each is dear."""
        self._time = time
        account = self._accounts[background]
        standing = account.standing
        if standing.stands and not account.rows:
            standing.resumed(self._interval, time)
        if not self.rows:
            return None
        wait = self._wait(background)
        if wait + self.batch_seconds.median > BURST_SHARE * remaining:
            reason = "deadline"
        elif standing.stands and wait > min(self._target, DEADLINE_SHARE * remaining):
            reason = "standing"
        else:
            return None
        if wait > self._target:  # else it is the request's own haste, which says nothing about the queue
            standing.refused()
        return Verdict(reason, wait)

    def _wait(self, background: bool) -> float:  # noqa: FBT001  # the index of an account
        # What is not measured any more may be wrong by now, and refusing on it would keep it from being measured.
        if self._time - self.rate.measured_at > max(STALE_SECONDS, STALE_BATCHES * self.batch_seconds.median):
            return 0.0
        return self.rate.seconds_for(self.rows if background else self._accounts[0].rows)

    @property
    def _interval(self) -> float:
        return max(INTERVAL_SECONDS, INTERVAL_BATCHES * self.batch_seconds.median)

    @property
    def _target(self) -> float:
        return max(self._limits.target_delay, self._limits.expected_batches * self.batch_seconds.median)


class NoAdmission(Admission):
    """Admits everything and sheds nothing: for measuring what the limits are good for."""

    def admit(self, entry: Waiting, time: float) -> None:  # noqa: ARG002  # the signature of its base
        """Count an entry in."""
        self.put_back(entry)

    def verdict(self, remaining: float, time: float, *, background: bool) -> None:
        """Refuse nothing."""

    def shed(self, lanes: Lanes[W], time: float) -> Sequence[W]:  # noqa: ARG002  # the signature of its base
        """Return nothing."""
        return ()
