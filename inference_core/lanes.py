"""The order in which queued entries leave: lanes of entries that may share a batch, interactive ones before background.

Lanes of one class take turns. While both classes wait, every BACKGROUND_TURN-th batch starts with a background entry,
so that the lower class gives way but never starves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from itertools import accumulate, chain, takewhile
from typing import Generic, Protocol, TypeVar

BACKGROUND_TURN = 20


class Queued(Protocol):
    """What a lane needs to know of an entry; times in seconds on one clock."""

    key: Hashable
    rows: int
    background: bool
    queued_at: float


E = TypeVar("E", bound=Queued)
Lane = OrderedDict[E, None]
Class = OrderedDict[Hashable, Lane[E]]


class Lanes(Generic[E]):
    """Entries in waiting order; `max_rows` limits a batch, `max_delay` seconds is how long a partial one is held."""

    def __init__(self, max_rows: int, max_delay: float = 0.0) -> None:
        self.max_rows = max_rows
        self.max_delay = max_delay
        self._classes: tuple[Class[E], Class[E]] = (OrderedDict(), OrderedDict())
        # All entries of a class by arrival: with a lane for each of thousands, none could be looked at for every batch.
        self._arrivals: tuple[Lane[E], Lane[E]] = (OrderedDict(), OrderedDict())
        self._since_background = 0

    def __bool__(self) -> bool:
        return bool(self._arrivals[0] or self._arrivals[1])

    def __iter__(self) -> Iterator[E]:
        return chain(*self._arrivals)

    def append(self, entry: E) -> None:
        """Queue an entry behind those of its lane."""
        lanes = self._classes[entry.background]
        lane = lanes.get(entry.key)
        if lane is None:
            lane = lanes[entry.key] = OrderedDict()
        lane[entry] = None
        self._arrivals[entry.background][entry] = None

    def prepend(self, entry: E) -> None:
        """Queue an entry before all others of its class."""
        self.append(entry)
        lanes = self._classes[entry.background]
        lanes[entry.key].move_to_end(entry, last=False)
        lanes.move_to_end(entry.key, last=False)
        self._arrivals[entry.background].move_to_end(entry, last=False)

    def remove(self, entry: E) -> bool:
        """Take one entry out, wherever it is; return whether it was there."""
        arrivals, lanes = self._arrivals[entry.background], self._classes[entry.background]
        if entry not in arrivals:
            return False
        del arrivals[entry]
        lane = lanes[entry.key]
        del lane[entry]
        if not lane:
            del lanes[entry.key]
        return True

    def oldest(self, *, background: bool) -> float | None:
        """Return since when the longest waiting entry of a class waits."""
        arrivals = self._arrivals[background]
        return next(iter(arrivals)).queued_at if arrivals else None

    def older_than(self, time: float) -> list[E]:
        """Return all entries that were queued before a time."""
        return [
            entry for arrivals in self._arrivals for entry in takewhile(lambda entry: entry.queued_at < time, arrivals)
        ]

    def pause(self, time: float) -> float:
        """Return for how many seconds every batch may be held so that it fills; 0 where one is to leave now."""
        if not self.max_delay or any(self._ready(lanes, time) for lanes in self._classes):
            return 0.0
        oldest = [self.oldest(background=background) for background in (False, True)]
        return min(since + self.max_delay - time for since in oldest if since is not None)

    def take(self, time: float, *, newest_first: bool = False) -> tuple[list[E], str]:
        """Take the next batch and why it left ("full", "delay", "idle"); there must be one that need not be held."""
        interactive, background = self._ready(self._classes[0], time), self._ready(self._classes[1], time)
        lane = background if self._is_background_turn(interactive, background) else interactive
        key = next(iter(lane or ())).key
        first, second = self._classes if lane is interactive else reversed(self._classes)
        entries: list[E] = []
        rows = self._fill(entries, 0, first, key, newest_first=newest_first)
        if key in second and rows < self.max_rows:
            rows = self._fill(entries, rows, second, key, newest_first=newest_first)
        if key in first:
            first.move_to_end(key)
        if rows >= self.max_rows:
            return entries, "full"
        return entries, "delay" if self.max_delay else "idle"

    def _fill(self, entries: list[E], rows: int, lanes: Class[E], key: Hashable, *, newest_first: bool) -> int:
        lane, before = lanes[key], len(entries)
        for entry in reversed(lane) if newest_first else lane:
            if entries and rows + entry.rows > self.max_rows:
                break
            entries.append(entry)
            rows += entry.rows
        taken = entries[before:]
        for entry in taken:
            del self._arrivals[entry.background][entry]
        if len(taken) == len(lane):
            del lanes[key]
            return rows
        for entry in taken:
            del lane[entry]
        return rows

    def _ready(self, lanes: Class[E], time: float) -> Lane[E] | None:
        if not self.max_delay:
            return next(iter(lanes.values()), None)
        return next((lane for lane in lanes.values() if self._is_ready(lane, time)), None)

    def _is_ready(self, lane: Lane[E], time: float) -> bool:
        first = next(iter(lane))
        if first.queued_at + self.max_delay <= time:
            return True
        together = chain.from_iterable(lanes.get(first.key, ()) for lanes in self._classes)
        return any(rows >= self.max_rows for rows in accumulate(entry.rows for entry in together))

    def _is_background_turn(self, interactive: Lane[E] | None, background: Lane[E] | None) -> bool:
        if not background:
            return False
        self._since_background += 1
        if interactive and self._since_background < BACKGROUND_TURN:
            return False
        self._since_background = 0
        return True
