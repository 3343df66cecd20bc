"""The order in which queued entries leave: lanes of entries that may share a batch, interactive ones before background.

Lanes of one class take turns. While both classes wait, every BACKGROUND_TURN-th batch starts with a background entry,
so that the lower class gives way but never starves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
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


class Lanes(Generic[E]):
    """Entries in waiting order; `max_rows` limits a batch, `max_delay` seconds is how long a partial one is held."""

    def __init__(self, max_rows: int, max_delay: float = 0.0) -> None:
        self.max_rows = max_rows
        self._max_delay = max_delay
        self._classes: tuple[OrderedDict[Hashable, Lane[E]], ...] = (OrderedDict(), OrderedDict())
        self._since_background = 0

    def __bool__(self) -> bool:
        return bool(self._classes[0] or self._classes[1])

    def __iter__(self) -> Iterator[E]:
        for lanes in self._classes:
            for lane in lanes.values():
                yield from lane

    def append(self, entry: E) -> None:
        """Queue an entry behind those of its lane."""
        lanes = self._classes[entry.background]
        lane = lanes.get(entry.key)
        if lane is None:
            lane = lanes[entry.key] = OrderedDict()
        lane[entry] = None

    def prepend(self, entry: E) -> None:
        """Queue an entry before all others of its class."""
        self.append(entry)
        lanes = self._classes[entry.background]
        lanes[entry.key].move_to_end(entry, last=False)
        lanes.move_to_end(entry.key, last=False)

    def remove(self, entry: E) -> bool:
        """Take one entry out, wherever it is; return whether it was there."""
        lanes = self._classes[entry.background]
        lane = lanes.get(entry.key)
        if lane is None or entry not in lane:
            return False
        del lane[entry]
        if not lane:
            del lanes[entry.key]
        return True

    def oldest(self, *, background: bool) -> float | None:
        """Return since when the longest waiting entry of a class waits."""
        lanes = self._classes[background]
        return min([next(iter(lane)).queued_at for lane in lanes.values()]) if lanes else None

    def older_than(self, time: float) -> list[E]:
        """Return all entries that were queued before a time."""
        return [entry for entry in self if entry.queued_at < time]

    def pause(self, time: float) -> float:
        """Return for how many seconds the next batch may be held so that it fills; 0 for one that is to leave now."""
        if not self._max_delay:
            return 0.0
        lane = self._next_lane()
        if sum(entry.rows for entry in lane) >= self.max_rows:
            return 0.0
        return max(0.0, next(iter(lane)).queued_at + self._max_delay - time)

    def take(self, *, newest_first: bool = False) -> tuple[list[E], str]:
        """Take the next batch and why it left ("full", "idle"); there must be an entry."""
        background = self._is_background_turn()
        lanes = self._classes[background]
        key, lane = next(iter(lanes.items()))
        entries: list[E] = []
        rows = self._fill(entries, 0, lanes, lane, newest_first=newest_first)
        spare = self._classes[1].get(key) if not background else None
        if spare is not None and rows < self.max_rows:
            rows = self._fill(entries, rows, self._classes[1], spare, newest_first=newest_first)
        if key in lanes:
            lanes.move_to_end(key)
        return entries, "full" if rows >= self.max_rows else "idle"

    def _fill(
        self, entries: list[E], rows: int, lanes: OrderedDict[Hashable, Lane[E]], lane: Lane[E], *, newest_first: bool
    ) -> int:
        key = next(iter(lane)).key
        while lane:
            entry, _ = lane.popitem(last=newest_first)
            if entries and rows + entry.rows > self.max_rows:
                lane[entry] = None
                lane.move_to_end(entry, last=newest_first)
                break
            entries.append(entry)
            rows += entry.rows
        if not lane:
            del lanes[key]
        return rows

    def _next_lane(self) -> Lane[E]:
        lanes = self._classes[0] or self._classes[1]
        return next(iter(lanes.values()))

    def _is_background_turn(self) -> bool:
        interactive, background = self._classes
        if not background:
            self._since_background = 0
            return False
        self._since_background += 1
        if interactive and self._since_background < BACKGROUND_TURN:
            return False
        self._since_background = 0
        return True
