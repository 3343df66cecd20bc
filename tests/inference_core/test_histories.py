"""What the Batcher promises holds in any order of events; HISTORIES=10000 runs that many."""

from __future__ import annotations

import os

import pytest

from tests.inference_core.histories import History
from tests.virtual_time import virtual_time

HISTORIES = int(os.environ.get("HISTORIES", "800"))
FIRST = int(os.environ.get("FIRST_HISTORY", "0"))


@pytest.mark.timeout(60 + HISTORIES / 10)
def test_every_history_keeps_the_contract() -> None:
    """Everyone is answered once with their own rows, nothing leaks, and no place is idle while something waits."""
    with virtual_time() as loop:
        for seed in range(FIRST, FIRST + HISTORIES):
            assert (seed, loop.run(History(loop, seed).run())) == (seed, [])
