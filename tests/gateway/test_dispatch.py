"""Requests across the hop to fake workers: who is asked, and how long anybody waits."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.dispatch import RETURN_SECONDS
from inference_core import errors
from inference_core.deadline import Deadline
from tests.gateway.fake_worker import FakeWorker, echo
from tests.gateway.gate import Gate
from tests.gateway.hop import MODEL, class_of, hop
from tests.waiting import eventually, eventually_answers


async def test_an_unknown_model_gets_the_names_that_exist() -> None:
    """A 404 lists the models, a 503 says that one is loading, and nothing is kept for a name that a client made up."""
    async with hop(FakeWorker(models={"b": 1, "a": 1})) as one:
        for name in ("x", "y"):
            with pytest.raises(errors.UnknownModel, match="Models here: a, b"):
                await one.ask(1, model=name)
        with pytest.raises(errors.NoWorker, match="Model late 1 is LOADING: reading weights\\."):
            await one.ask(1, model="late")
        assert one.dispatcher.queues == {}


async def test_a_model_that_was_just_dropped_in_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for a new model gets 404 once or a few times, and its answer long before the next regular look."""
    monkeypatch.setattr("gateway.slots.REFRESH_SECONDS", 600.0)
    monkeypatch.setattr("gateway.looks.SOONEST_SECONDS", 0.01)
    fake = FakeWorker(models={"old": 1})
    async with hop(fake) as one:
        fake.models = {"old": 1, MODEL: 1}

        async def is_answered() -> bool:
            try:
                await one.ask(1)
            except errors.UnknownModel:
                return False
            return True

        await eventually_answers(is_answered, "an answer of the new model")
        assert len(fake.calls) == 1


async def test_an_unknown_version_gets_the_versions_that_exist() -> None:
    """A 404 lists the model's versions, and nothing is kept for one that a client made up."""
    async with hop(FakeWorker(versions={MODEL: ("2", "10", "1")}), FakeWorker(versions={MODEL: ("11",)})) as two:
        with pytest.raises(errors.UnknownModel, match=r"has no such version\. Versions here: 1, 2, 10, 11\."):
            await two.ask(1, version="12")
        assert two.dispatcher.queues == {}


async def test_versions_of_a_model_never_share_a_batch() -> None:
    """A named version travels by itself and says so on the wire; without a name the worker decides."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate, versions={MODEL: ("1", "2")})) as one:
        wanted = ["", "1", "2", "", "1", "2"]
        tasks = [asyncio.create_task(one.ask(value, version=version)) for value, version in enumerate(wanted)]
        await eventually(lambda: gate.waiting == 3, "three calls")
        gate.opened.set()
        found = await asyncio.gather(*tasks)
        assert [class_of(inference) for inference in found] == list(range(6))
        assert [inference.version for inference in found] == [version or "3" for version in wanted]
        assert sorted((asked.version, asked.values) for asked in one.fakes[0].calls) == [
            ("", [0, 3]), ("1", [1, 4]), ("2", [2, 5]),
        ]  # fmt: skip
        await one.idle()


async def test_a_version_is_asked_only_where_it_is() -> None:
    """While a version is on one of two workers, that one gets its requests and nobody else does."""
    first, second = FakeWorker(answer=echo), FakeWorker(answer=echo, versions={MODEL: ("1", "2")})
    async with hop(first, second) as two:
        assert [class_of(await two.ask(value, version="2")) for value in range(5)] == list(range(5))
        assert (len(first.calls), len(second.calls)) == (0, 5)


async def test_without_a_worker_a_request_waits_until_its_deadline() -> None:
    """No worker in time is a 503; one that comes in time answers."""
    async with hop(FakeWorker(answer=echo), healthy=False) as one:
        started = time.monotonic()
        with pytest.raises(errors.NoWorker):
            await one.ask(1, seconds=0.2)
        assert 0.1 < time.monotonic() - started < 0.2
        asked = asyncio.create_task(one.ask(2))
        await one.running[0].tell(healthy=True)
        assert class_of(await asked) == 2


async def test_a_queue_outlives_all_workers() -> None:
    """While every worker is away requests wait; the first that comes back gets them as one batch."""
    async with hop(FakeWorker(answer=echo)) as one:
        await one.ask(0)
        one.running[0].line.cut()
        await one.ready(0)
        late = asyncio.create_task(one.ask(1, seconds=0.1))
        asked = asyncio.create_task(one.ask_all(10))
        with pytest.raises(errors.NoWorker):
            await late
        await one.running[0].line.open()
        assert await asked == list(range(10))
        assert len(one.fakes[0].calls[-1].values) == 10


async def test_expired_work_is_never_sent() -> None:
    """A request that waited beyond its deadline gets its 504 in time and reaches no worker."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate), batches_in_flight=1) as one:
        first = asyncio.create_task(one.ask(0))
        await eventually(lambda: gate.waiting, "the first call")
        deadline = Deadline.after(0.1)
        with pytest.raises(errors.DeadlineExceeded):
            await one.ask(1, seconds=0.1)
        assert deadline.remaining() > 0
        gate.opened.set()
        await first
        await one.idle()
        assert [asked.values for asked in one.fakes[0].calls] == [[0]]


async def test_a_late_answer_is_a_504_before_the_deadline() -> None:
    """The answer to a missed deadline leaves before that deadline, and the call to the worker ends with it."""
    gate = Gate()
    async with hop(FakeWorker(before=gate)) as one:
        started = time.monotonic()
        with pytest.raises(errors.DeadlineExceeded):
            await one.ask(0, seconds=0.2)
        assert 0.2 - 2 * RETURN_SECONDS < time.monotonic() - started < 0.2
        await eventually(lambda: one.fakes[0].last.ended == "cancelled", "the end of the call")
        await one.idle()


async def test_a_deadline_crosses_as_the_longest_of_a_batch() -> None:
    """A neighbour with little time neither shortens the others' call nor gets more time itself."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate), batches_in_flight=1) as one:
        tasks = [asyncio.create_task(one.ask(value, seconds=seconds)) for value, seconds in ((0, 0.2), (1, 5.0))]
        await eventually(lambda: gate.waiting, "the call")
        assert (one.fakes[0].last.remaining or 0) > 4
        with pytest.raises(errors.DeadlineExceeded):
            await tasks[0]
        gate.opened.set()
        assert class_of(await tasks[1]) == 1


async def test_who_leaves_the_queue_is_never_sent() -> None:
    """A client that leaves while it waits is out at once."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate), batches_in_flight=1) as one:
        first = asyncio.create_task(one.ask(0))
        await eventually(lambda: gate.waiting, "the first call")
        tasks = [asyncio.create_task(one.ask(value)) for value in (1, 2, 3)]
        await eventually(lambda: one.dispatcher.queues[MODEL, ""].batcher.queued_rows == 3, "the queue")
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        assert one.dispatcher.queues[MODEL, ""].batcher.queued_rows == 2
        gate.opened.set()
        await asyncio.gather(first, tasks[0], tasks[2])
        assert one.fakes[0].last.values == [1, 3]


async def test_the_last_who_leaves_ends_the_call() -> None:
    """A call goes on while anybody waits for it, and is cancelled at its worker with its last member."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate)) as one:
        tasks = [asyncio.create_task(one.ask(value)) for value in (1, 2)]
        await eventually(lambda: gate.waiting, "the call")
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        assert gate.waiting == 1
        tasks[1].cancel()
        await eventually(lambda: one.fakes[0].last.ended == "cancelled", "the end of the call")
        await one.idle()


@pytest.mark.parametrize("turns", range(6))
async def test_leaving_at_any_moment_costs_no_place(turns: int) -> None:
    """A client that leaves while its batch is just being formed, sent or answered leaves its place free."""
    async with hop(FakeWorker(answer=echo), batches_in_flight=1) as one:
        await one.ask(0)
        for _ in range(5):
            task = asyncio.create_task(one.ask(1))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await one.idle()
        assert class_of(await one.ask(2)) == 2


async def test_closing_answers_everybody() -> None:
    """At the end what runs is answered and what waits gets an error; nothing is left."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate), batches_in_flight=1) as one:
        running = asyncio.create_task(one.ask(0))
        await eventually(lambda: gate.waiting, "the call")
        waiting = asyncio.create_task(one.ask(1))
        await asyncio.sleep(0)
        closing = asyncio.create_task(one.dispatcher.close())
        with pytest.raises(errors.InferenceHubError):
            await waiting
        gate.opened.set()
        await closing
        assert class_of(await running) == 0
