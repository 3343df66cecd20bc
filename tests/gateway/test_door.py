"""Who is turned away for want of memory."""

from __future__ import annotations

import gc
import os

import msgspec
import pytest

from gateway import door
from gateway.door import Door
from inference_core.settings import Gateway

LIMIT = 100 * 1024 * 1024


class Held:
    """Memory that a process seems to have; a collection of garbage leaves `kept` of it."""

    def __init__(self, held: int, kept: int) -> None:
        self.held, self.kept = held, kept
        self.collections = 0

    def collect(self) -> int:
        """Stand for gc.collect."""
        self.collections += 1
        self.held = self.kept
        return 0


def watching(held: Held, monkeypatch: pytest.MonkeyPatch) -> Door:
    """Return a door of a process that holds so much."""
    monkeypatch.setattr(door, "resident_bytes", lambda: held.held)
    monkeypatch.setattr(gc, "collect", held.collect)
    monkeypatch.setattr(door, "SAMPLE_SECONDS", -1.0)
    return Door(msgspec.structs.replace(Gateway(), memory_limit_bytes=LIMIT))


def test_nobody_is_turned_away_for_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that nobody uses is freed before it counts."""
    held = Held(2 * LIMIT, LIMIT // 2)
    assert watching(held, monkeypatch).refusal(10) is None
    assert held.collections == 1


def test_where_memory_is_in_use_it_is_looked_for_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are refused without a collection for each, and taken again when the memory is there."""
    held = Held(2 * LIMIT, 2 * LIMIT)
    watched = watching(held, monkeypatch)
    assert [watched.refusal(10) for _ in range(5)] == [door.NO_MEMORY] * 5
    assert held.collections == 1
    held.held = LIMIT // 2
    assert watched.refusal(10) is None


def test_resident_memory_is_this_process() -> None:
    """It is some megabytes, and less than the machine has."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 1024 * 1024 < door.resident_bytes() < pages
