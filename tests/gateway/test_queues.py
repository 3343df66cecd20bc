"""Queues come with the first request for a version and go with its last worker."""

from __future__ import annotations

import asyncio

import pytest

from inference_core import errors
from tests.gateway.fake_worker import FakeWorker, echo
from tests.gateway.gate import Gate
from tests.gateway.hop import MODEL, class_of, hop
from tests.waiting import eventually

Versions = dict[str, tuple[str, ...]]
BOTH: Versions = {MODEL: ("1", "2")}
ONE: Versions = {MODEL: ("1",)}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask workers often what they have, and be quickly sure."""
    monkeypatch.setattr("gateway.slots.REFRESH_SECONDS", 0.02)
    monkeypatch.setattr("gateway.queues.SURELY_GONE_SECONDS", 0.05)


async def test_the_queue_of_a_version_that_is_gone_is_freed() -> None:
    """Once no worker has a version its queue goes, and the next request for it gets the versions that are left."""
    async with hop(FakeWorker(answer=echo, versions=dict(BOTH))) as one:
        for version in ("", "1", "2"):
            await one.ask(1, version=version)
        one.fakes[0].versions = ONE
        await eventually(lambda: (MODEL, "2") not in one.dispatcher.queues, "the end of the queue")
        assert set(one.dispatcher.queues) == {(MODEL, ""), (MODEL, "1")}
        with pytest.raises(errors.UnknownModel, match="Versions here: 1"):
            await one.ask(1, version="2")
        one.fakes[0].versions = BOTH
        await eventually(lambda: one.workers.is_ready(MODEL, "2"), "the return of the version")
        assert class_of(await one.ask(5, version="2")) == 5


async def test_who_waits_for_a_version_gets_it_when_it_is_soon_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that goes while requests wait for it leaves them waiting for a moment, and answers them then."""
    monkeypatch.setattr("gateway.queues.SURELY_GONE_SECONDS", 0.5)
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate, versions=dict(BOTH)), batches_in_flight=1) as one:
        tasks = [asyncio.create_task(one.ask(0, version="2"))]
        await eventually(lambda: gate.waiting, "the first call")
        tasks.append(asyncio.create_task(one.ask(1, version="2")))
        one.fakes[0].versions = ONE
        await eventually(lambda: not one.workers.is_ready(MODEL, "2"), "the end of the version")
        gate.opened.set()
        await tasks[0]
        await eventually(lambda: not one.workers.slots[0].batches, "the free place")
        one.fakes[0].versions = BOTH
        assert class_of(await tasks[1]) == 1
        await eventually(lambda: one.dispatcher._queues._sweeper is None, "the look that finds it there again")
        assert (MODEL, "2") in one.dispatcher.queues


async def test_who_goes_on_asking_for_a_version_that_is_gone_is_told_so() -> None:
    """However many always wait for it, none of them waits until its deadline once no worker has the version."""
    async with hop(FakeWorker(answer=echo, versions=dict(BOTH))) as one:
        await one.ask(0, version="2")
        one.fakes[0].versions = ONE
        await eventually(lambda: not one.workers.is_ready(MODEL, "2"), "the end of the version")
        outcomes: list[object] = []
        while (MODEL, "2") in one.dispatcher.queues:
            asked = [asyncio.create_task(one.ask(number, version="2", seconds=30)) for number in range(3)]
            outcomes += await asyncio.gather(*asked, return_exceptions=True)
        assert outcomes
        assert {type(outcome) for outcome in outcomes} == {errors.UnknownModel}


async def test_while_a_worker_is_away_a_queue_is_kept() -> None:
    """A version whose only worker starts again is not gone: its queue stays, and its requests wait."""
    first, second = FakeWorker(answer=echo), FakeWorker(answer=echo, versions=dict(BOTH))
    async with hop(first, second) as two:
        await two.ask(0, version="2")
        queue = two.dispatcher.queues[MODEL, "2"]
        two.running[1].line.cut()
        await two.ready(1)
        waiting = asyncio.create_task(two.ask(1, version="2"))
        with pytest.raises(errors.NoWorker):
            await two.ask(2, version="2", seconds=0.2)
        await two.running[1].line.open()
        assert class_of(await waiting) == 1
        assert two.dispatcher.queues[MODEL, "2"] is queue


async def test_an_outage_frees_nothing() -> None:
    """Without any worker nothing is known of versions."""
    async with hop(FakeWorker(answer=echo)) as one:
        await one.ask(0)
        queues = dict(one.dispatcher.queues)
        one.running[0].line.cut()
        await one.ready(0)
        with pytest.raises(errors.NoWorker):
            await one.ask(1, seconds=0.2)
        assert dict(one.dispatcher.queues) == queues


async def test_load_is_told_by_model() -> None:
    """What waits and runs for a model's versions is one number, for it has one label."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate, versions=dict(BOTH)), batches_in_flight=1) as one:
        first = [asyncio.create_task(one.ask(0, version=version)) for version in ("1", "2")]
        await eventually(lambda: gate.waiting == 2, "two calls")
        waiting = [asyncio.create_task(one.ask(0, version=version)) for version in ("1", "2")]
        await eventually(lambda: list(one.dispatcher._queues.load()) == [(MODEL, 2, 2)], "the load")
        gate.opened.set()
        await asyncio.gather(*first, *waiting)
