"""The verdict about copies, and what the clients count."""

from __future__ import annotations

import os

import pytest

from deploy.tensors.__main__ import COPIES, HEAD, MEGABYTE, SLACK_BYTES, Memory, Row

SIZE = 50 * MEGABYTE


@pytest.mark.parametrize(("extra", "is_good"), [(0, True), (1, False)])
@pytest.mark.parametrize("who", ["gateway", "worker"])
def test_too_many_copies_in_either_process_are_bad(extra: int, is_good: bool, who: str) -> None:  # noqa: FBT001  # a parameter
    """The limit is so many times the tensor, and what the allocator keeps."""
    peaks = {"gateway": 0, "worker": 0, who: COPIES * SIZE + SLACK_BYTES + extra}
    row = Row("gRPC", "in", SIZE, 0.5, **peaks)
    assert row.is_good is is_good
    assert len(row.cells()) == len(HEAD)
    assert row.cells()[3:5] == ("100", "500")
    assert row.cells()[-1] == ("ok" if is_good else "TOO MANY")


def test_the_peak_is_what_was_held_at_once() -> None:
    """Memory that was taken and given back since the beginning counts."""
    memory = Memory([os.getpid()])
    memory.begin()
    before = memory.peak()
    held = bytearray(b"x") * (64 * MEGABYTE)
    assert len(held) == 64 * MEGABYTE
    del held
    assert memory.peak() - before > 60 * MEGABYTE
