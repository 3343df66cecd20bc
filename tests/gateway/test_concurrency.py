"""As many batches under way as a model gains from, and never a request that waits for a late one."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.concurrency import Concurrency
from tests.gateway.fake_worker import Asked, FakeWorker, echo
from tests.gateway.hop import class_of, hop
from tests.waiting import eventually

LATE = 1000


def test_without_a_measurement_every_place_is_useful() -> None:
    """A model that nobody has asked yet is kept from nothing."""
    assert Concurrency().useful == math.inf


@pytest.mark.parametrize(("elsewhere", "useful"), [(0.0, 1), (0.0001, 1), (0.001, 2), (0.01, 11)])
def test_the_models_own_time_decides(elsewhere: float, useful: int) -> None:
    """A model that takes no time beside the hop gains nothing from a second batch, a slow one from many."""
    concurrency = Concurrency()
    for _ in range(50):
        concurrency.note(0.001, elsewhere)
    assert concurrency.useful == useful


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10))))
def test_one_batch_is_always_useful(measured: list[tuple[float, float]]) -> None:
    """Whatever was measured, at least one batch may be under way."""
    concurrency = Concurrency()
    for hop_seconds, elsewhere in measured:
        concurrency.note(hop_seconds, elsewhere)
    assert concurrency.useful >= 1


async def test_nobody_waits_for_a_late_batch_of_a_quick_model() -> None:
    """While one worker keeps a batch of a quick model, the other one answers the rest."""
    let_go = asyncio.Event()

    async def hold_the_late_one(asked: Asked) -> None:
        if asked.inputs["features"][0, 0] == LATE:
            await let_go.wait()

    fakes = [FakeWorker(answer=echo, before=hold_the_late_one) for _ in range(2)]
    async with hop(*fakes, hedge_ratio=0.0) as two:
        assert await two.ask_all(50) == list(range(50))
        late = asyncio.create_task(two.ask(LATE))
        await eventually(lambda: any(fake.busy for fake in fakes), "the late batch's departure")
        async with asyncio.timeout(0.3):
            assert await two.ask_all(20) == list(range(20))
        assert not late.done()
        let_go.set()
        assert class_of(await late) == LATE
