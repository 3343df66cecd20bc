"""Batches that take suspiciously long get a second chance, and exactly one answer."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from gateway.hedging import ENOUGH_DURATIONS, FIRST_STALL_SECONDS, LEAST_STALL_SECONDS, stall_seconds
from gateway.slots import State
from inference_core import errors
from inference_core.names import INFER
from inference_core.queueing import Durations
from tests.gateway.fake_worker import Asked, FakeWorker, echo
from tests.gateway.hop import MODEL, Hop, class_of, hop
from tests.gateway.worker_process import HANGS, process
from tests.waiting import eventually


@pytest.fixture(autouse=True)
def impatient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a batch suspicious soon, but where the thresholds themselves are looked at."""
    if request.function is test_what_is_suspicious:
        return
    monkeypatch.setattr("gateway.hedging.FIRST_STALL_SECONDS", 0.1)
    monkeypatch.setattr("gateway.hedging.LEAST_STALL_SECONDS", 0.1)
    monkeypatch.setattr("gateway.hedging.CHECK_SECONDS", 0.01)


class Stalling:
    """Two fake workers, of which the one that is asked first holds its call until it is let go."""

    def __init__(self) -> None:
        self.first: FakeWorker | None = None
        self.go = asyncio.Event()
        self.fakes = [FakeWorker(answer=echo), FakeWorker(answer=echo)]
        for fake in self.fakes:
            fake.before = self._before(fake)

    def _before(self, fake: FakeWorker):  # type: ignore[no-untyped-def]  # noqa: ANN202  # what FakeWorker.before is
        async def before(_: Asked) -> None:
            self.first = self.first or fake
            if self.first is fake:
                await self.go.wait()

        return before

    @property
    def second(self) -> FakeWorker:
        """The one that was not asked first."""
        return next(fake for fake in self.fakes if fake is not self.first)


async def for_ever(_: Asked) -> None:
    """Hold a call until it is cancelled."""
    await asyncio.Event().wait()


def calls_of(two: Hop) -> int:
    """Return how many calls were made."""
    return sum(len(fake.calls) for fake in two.fakes)


def test_what_is_suspicious() -> None:
    """Far beyond the 99th percentile; before enough is known, and for very fast models, a floor."""
    durations = Durations()
    assert stall_seconds(durations, 60.0) == FIRST_STALL_SECONDS
    for _ in range(ENOUGH_DURATIONS - 1):
        durations.add(0.5)
    assert stall_seconds(durations, 60.0) == pytest.approx(2.0)
    durations.add(0.5)
    assert stall_seconds(durations, 60.0) == pytest.approx(2.0)
    fast = Durations()
    for _ in range(ENOUGH_DURATIONS):
        fast.add(0.001)
    assert stall_seconds(fast, 60.0) == LEAST_STALL_SECONDS


def test_an_unknown_model_leaves_half_the_time_for_another_worker() -> None:
    """Before enough is known of a model, a batch is suspicious at the latest after half of the time it has."""
    assert stall_seconds(Durations(), 0.1) == pytest.approx(0.05)


async def test_the_first_answer_wins_and_the_loser_is_cancelled() -> None:
    """A late batch is answered by another worker; the late call ends there, and both attempts show in the trace."""
    stalling = Stalling()
    async with hop(*stalling.fakes) as two:
        call = two.call()
        assert class_of(await two.ask(4, call=call)) == 4
        assert stalling.first is not None
        loser = stalling.first.last
        await eventually(lambda: loser.ended == "cancelled", "the loser's end")
        assert stalling.second.last.ended == "answered"
        await two.idle()
        spans = [dict(span.attributes or {}) for span in two.spans.named(INFER)]
        assert {found["rpc.status_code"] for found in spans} == {"OK", "CANCELLED"}
        assert call.attempts == 2


async def test_a_late_answer_may_still_win() -> None:
    """When the first worker answers after all, the second one is cancelled."""
    stalling = Stalling()
    async with hop(*stalling.fakes) as two:
        asked = asyncio.create_task(two.ask(4))
        await eventually(lambda: stalling.first, "the first call")
        stalling.second.before = for_ever
        await eventually(lambda: stalling.second.calls, "the second call")
        stalling.go.set()
        assert class_of(await asked) == 4
        await eventually(lambda: stalling.second.last.ended == "cancelled", "the loser's end")
        await two.idle()


@pytest.mark.parametrize("status", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE])
async def test_a_second_worker_that_fails_changes_nothing(status: grpc.StatusCode) -> None:
    """Only an answer ends the first attempt."""
    stalling = Stalling()
    async with hop(*stalling.fakes) as two:
        asked = asyncio.create_task(two.ask(4))
        await eventually(lambda: stalling.first, "the first call")
        stalling.second.status = status
        await eventually(lambda: stalling.second.calls and stalling.second.last.ended == "failed", "the second's end")
        stalling.go.set()
        assert class_of(await asked) == 4
        await two.idle()


async def test_a_second_answer_that_cannot_be_read_changes_nothing() -> None:
    """An unreadable answer is none."""
    stalling = Stalling()
    async with hop(*stalling.fakes) as two:
        asked = asyncio.create_task(two.ask(4))
        await eventually(lambda: stalling.first, "the first call")
        stalling.second.answer = lambda model, inputs: {name: array[:0] for name, array in echo(model, inputs).items()}
        await eventually(lambda: stalling.second.calls and stalling.second.last.ended, "the second's end")
        stalling.go.set()
        assert class_of(await asked) == 4
        await two.idle()


async def test_who_leaves_leaves_both() -> None:
    """A client that leaves while two workers run its request ends both calls."""
    stalling = Stalling()
    async with hop(*stalling.fakes) as two:
        asked = asyncio.create_task(two.ask(4))
        await eventually(lambda: stalling.first, "the first call")
        stalling.second.before = for_ever
        await eventually(lambda: stalling.second.calls, "the second call")
        asked.cancel()
        await eventually(lambda: {fake.last.ended for fake in two.fakes} == {"cancelled"}, "the end of both calls")
        await two.idle()


async def test_a_first_worker_that_dies_leaves_it_to_the_second() -> None:
    """A late batch whose worker then dies is not sent a third time while its second attempt runs."""
    stalling = Stalling()
    async with hop(*stalling.fakes) as two:
        asked = asyncio.create_task(two.ask(4))
        await eventually(lambda: stalling.first, "the first call")
        go = asyncio.Event()

        async def wait(_: Asked) -> None:
            await go.wait()

        stalling.second.before = wait
        await eventually(lambda: stalling.second.calls, "the second call")
        assert stalling.first is not None
        two.running[two.fakes.index(stalling.first)].line.cut()
        await two.ready(1)
        go.set()
        assert class_of(await asked) == 4
        assert calls_of(two) == 2
        await two.idle()


async def test_the_budget_bounds_hedges() -> None:
    """Without a budget a late batch stays where it is."""
    stalling = Stalling()
    async with hop(*stalling.fakes, hedge_ratio=0.0) as two:
        with pytest.raises(errors.DeadlineExceeded):
            await two.ask(4, seconds=0.4)
        assert calls_of(two) == 1
        await two.idle()


async def test_who_was_lost_before_is_not_hedged() -> None:
    """A request that may have killed a worker is not sent to two at once."""
    stalling = Stalling()
    async with hop(*stalling.fakes) as two:
        await stall_after_a_loss(two, stalling)
        assert calls_of(two) == 2
        await two.idle()


async def stall_after_a_loss(two: Hop, stalling: Stalling) -> None:
    """Ask, cut the first worker, and let the second one hold the call until the deadline."""
    asked = asyncio.create_task(two.ask(4, seconds=0.8))
    await eventually(lambda: stalling.first, "the first call")
    assert stalling.first is not None

    async def wait(_: Asked) -> None:
        await asyncio.Event().wait()

    stalling.second.before = wait
    line = two.running[two.fakes.index(stalling.first)].line
    line.cut()
    await eventually(lambda: stalling.second.calls, "the second call")
    await line.open()
    with pytest.raises(errors.DeadlineExceeded):
        await asked


async def test_a_slow_worker_stays_ready() -> None:
    """A worker that is only slow answers the probe, so it keeps getting work."""
    stalling = Stalling()
    async with hop(*stalling.fakes, hedge_ratio=0.0) as two:
        asked = asyncio.create_task(two.ask(4))
        await asyncio.sleep(0.3)
        assert two.states() == [State.READY] * 2
        stalling.go.set()
        await asked


async def test_a_hung_event_loop_gets_nothing_more() -> None:
    """A worker whose event loop hangs becomes suspect, its batch is answered elsewhere, and it comes back later."""
    async with hop(FakeWorker(answer=echo), FakeWorker(answer=echo)) as two:
        two.running[0].line.cut()
        await two.ready(1)
        with process(two.running[0].socket):
            await two.ready(2)
            started = time.monotonic()
            assert class_of(await two.ask(HANGS)) == HANGS
            assert two.states() == [State.SUSPECT, State.READY]
            asked = len(two.fakes[1].calls)
            assert await two.ask_all(10) == list(range(10))
            assert len(two.fakes[1].calls) > asked
            assert time.monotonic() - started < 1.0
            await two.ready(2)
            assert two.dispatcher.queues[MODEL, ""].batcher.running == 0
