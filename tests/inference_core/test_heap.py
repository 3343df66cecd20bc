"""What was freed goes back to the system."""

from __future__ import annotations

import asyncio
import os

import pytest

from inference_core import heap
from inference_core.heap import Returns
from otel.processes import resident_bytes
from tests.waiting import eventually

PIECE_BYTES, PIECES = 32 * 1024, 1000


def test_freed_pieces_are_given_back() -> None:
    """Memory of small pieces, which the C library keeps when they are freed, no longer counts as the process's."""
    pieces = [os.urandom(PIECE_BYTES) for _ in range(PIECES)]
    last = pieces[-1]  # the heap cannot shrink below it by itself
    held = resident_bytes(os.getpid())
    pieces.clear()
    heap.give_back()
    assert resident_bytes(os.getpid()) < held - PIECE_BYTES * PIECES // 2
    assert len(last) == PIECE_BYTES


async def test_a_burst_gives_back_seldom_and_once_more_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many large messages cost the loop few pauses, and what the last of them left does not stay."""
    times: list[float] = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(heap, "give_back", lambda: times.append(loop.time()))
    monkeypatch.setattr(heap, "LAST_SECONDS", 0.05)
    returns = Returns()
    for _ in range(1000):
        returns.note()
    assert len(times) == 1
    await eventually(lambda: len(times) == 2, "the last one")
    returns.note()
    await eventually(lambda: len(times) == 3, "another burst's")
