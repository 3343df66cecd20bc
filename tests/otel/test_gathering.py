"""What can wait is done for several requests together, in their order, and never left undone."""

from __future__ import annotations

from contextvars import ContextVar

import pytest
from structlog.testing import capture_logs

from otel.gathering import MOST_ITEMS, Gathering
from tests.waiting import eventually

SUBJECT: ContextVar[str] = ContextVar("subject", default="nobody")


async def test_items_are_done_together() -> None:
    """What is added in one turn waits, and is done a little later in its order."""
    done: list[int] = []
    gathering = Gathering(done.append)
    for number in range(3):
        gathering.add(number)
    assert done == []
    await eventually(lambda: done == [0, 1, 2], "what waited")


async def test_many_items_wait_for_no_time() -> None:
    """Of many only so many wait, so that none of the turns in which they are done is long."""
    done: list[int] = []
    gathering = Gathering(done.append)
    for number in range(MOST_ITEMS + 1):
        gathering.add(number)
    assert done == list(range(MOST_ITEMS))
    await eventually(lambda: len(done) == MOST_ITEMS + 1, "the last one")


async def test_flushing_leaves_nothing() -> None:
    """Before a process ends everything is done, once."""
    done: list[int] = []
    gathering = Gathering(done.append)
    gathering.add(1)
    gathering.flush()
    assert done == [1]
    gathering.flush()
    gathering.add(2)
    await eventually(lambda: done == [1, 2], "the second")


@pytest.mark.parametrize("count", [1, MOST_ITEMS])
async def test_nothing_is_done_in_a_requests_name(count: int) -> None:
    """Whatever the context of the first or the last request says is not said of what is done for several."""
    subjects: list[str] = []
    gathering: Gathering[int] = Gathering(lambda _: subjects.append(SUBJECT.get()))
    token = SUBJECT.set("a request")
    for number in range(count):
        gathering.add(number)
    SUBJECT.reset(token)
    await eventually(lambda: subjects == ["nobody"] * count, "what was gathered")


async def test_a_failure_costs_no_other() -> None:
    """What cannot be done is logged with its traceback; the others are done, and who adds the last is not told."""
    done: list[int] = []

    def do(number: int) -> None:
        if number == 1:
            raise ValueError
        done.append(number)

    gathering = Gathering(do)
    with capture_logs() as lines:
        for number in range(MOST_ITEMS):
            gathering.add(number)
    assert done == [0, *range(2, MOST_ITEMS)]
    assert [(line["log_level"], line["exc_info"]) for line in lines] == [("error", True)]
