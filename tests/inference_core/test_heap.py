"""What was freed goes back to the system."""

from __future__ import annotations

import os

from inference_core import heap
from otel.processes import resident_bytes

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
