"""Which worker takes the next batch."""

from __future__ import annotations

import asyncio

from gateway.slots import Slot, State
from gateway.workers import Workers
from inference_core.deadline import Deadline
from tests.gateway.fake_worker import FakeWorker, echo
from tests.gateway.hop import MODEL, hop
from tests.waiting import eventually

OTHER = "v1-mock"
NONE = -1


def numbers(workers: Workers, model: str, count: int) -> list[int]:
    """Claim that many places and return the numbers of their slots, NONE where there was no place."""
    claimed = [workers.claim(model) for _ in range(count)]
    return [NONE if slot is None else slot.number for slot in claimed]


async def test_the_least_busy_worker_is_taken() -> None:
    """Places are taken in turn, at most `batches_in_flight` of one model at each worker, and then none."""
    async with hop(*(FakeWorker(answer=echo) for _ in range(3)), batches_in_flight=2) as three:
        assert sorted(numbers(three.workers, MODEL, 3)) == [0, 1, 2]
        assert sorted(numbers(three.workers, MODEL, 3)) == [0, 1, 2]
        assert numbers(three.workers, MODEL, 2) == [NONE, NONE]
        three.workers.release(MODEL, three.workers.slots[1])
        assert numbers(three.workers, MODEL, 2) == [1, NONE]


async def test_of_equally_busy_workers_the_one_that_does_less_besides() -> None:
    """Another model's batches count where this model's are equal, and take none of its places."""
    async with hop(*(FakeWorker(answer=echo) for _ in range(2)), batches_in_flight=2) as two:
        assert numbers(two.workers, OTHER, 1) == [0]
        assert numbers(two.workers, MODEL, 1) == [1]
        assert numbers(two.workers, MODEL, 4) == [0, 1, 0, NONE]
        assert numbers(two.workers, OTHER, 4) == [1, 0, 1, NONE]


async def test_only_ready_workers_that_have_the_model_are_taken() -> None:
    """Absent, connecting, draining, suspect: none of them; nor one that does not have the model."""
    fakes = [FakeWorker(answer=echo, models={MODEL: 1}), FakeWorker(answer=echo, models={OTHER: 1})]
    async with hop(*fakes) as two:
        first, second = two.workers.slots
        for state in State:
            first.state = state
            found = two.workers.claim(MODEL)
            assert (found is first) == (state is State.READY)
            assert two.workers.is_ready(MODEL) == (state is State.READY)
            if found is not None:
                two.workers.release(MODEL, found)
            assert two.workers.claim(OTHER) is second
            two.workers.release(OTHER, second)
        first.state = State.READY
        assert two.workers.claim(MODEL, other_than=first) is None


async def test_a_place_outlives_the_state_of_its_worker() -> None:
    """A worker that dies with places taken has them again when they are given back, not before and not twice."""
    async with hop(FakeWorker(answer=echo), batches_in_flight=2) as one:
        (slot,) = one.workers.slots
        assert numbers(one.workers, MODEL, 3) == [0, 0, NONE]
        one.running[0].line.cut(for_good=False)
        await eventually(lambda: slot.connections, "the cut")
        await one.ready()
        assert numbers(one.workers, MODEL, 1) == [NONE]
        one.workers.release(MODEL, slot)
        assert numbers(one.workers, MODEL, 2) == [0, NONE]
        one.workers.release(MODEL, slot)
        one.workers.release(MODEL, slot)
        assert one.is_idle()


async def test_places_are_counted_by_version() -> None:
    """Each version of a model has places of its own, only where it is; nothing is kept of one that is given back."""
    async with hop(FakeWorker(), FakeWorker(versions={MODEL: ("1", "2")}), batches_in_flight=1) as two:
        first, second = two.workers.slots
        assert [two.workers.claim(MODEL, "2") for _ in range(2)] == [second, None]
        assert [two.workers.claim(MODEL, "1") for _ in range(3)] == [first, second, None]
        assert two.workers.has_places(MODEL, "2")
        assert not two.workers.has_places(MODEL, "3")
        assert two.workers.is_ready(MODEL, "2")
        assert not two.workers.is_ready(MODEL, "3")
        assert two.workers.claim(MODEL, "3") is None
        assert two.workers.versions(MODEL) == ["1", "2"]
        two.workers.release(MODEL, second, "2")
        two.workers.release(MODEL, second, "1")
        two.workers.release(MODEL, first, "1")
        assert (first.in_flight, second.in_flight) == ({}, {})
        assert two.workers.claim(MODEL, "2", alone=True) is second
        assert two.workers.claim(MODEL, "2", alone=True) is None
        two.workers.release(MODEL, second, "2")


async def test_waiting_for_a_worker_ends_with_it_or_with_the_deadline() -> None:
    """All that wait are woken by the first worker, and none waits beyond its deadline."""
    async with hop(FakeWorker(answer=echo), healthy=False) as one:
        deadline = Deadline.after(0.05)
        await one.workers.wait_ready(deadline)
        assert not deadline.remaining()
        waiting = [asyncio.create_task(one.workers.wait_ready(Deadline.after(10))) for _ in range(5)]
        await one.running[0].tell(healthy=True)
        await asyncio.wait_for(asyncio.gather(*waiting), 5)
        assert one.workers.any_ready()
        assert one.workers.models() == sorted(one.fakes[0].models)


async def test_facts_come_from_a_ready_worker() -> None:
    """What a model takes at once is what a worker that can be asked says."""
    async with hop(FakeWorker(models={MODEL: 4}), FakeWorker(models={MODEL: 8})) as two:
        first: Slot = two.workers.slots[0]
        facts = two.workers.facts(MODEL)
        assert facts is not None
        assert facts.max_rows == 4
        first.state = State.DRAINING
        facts = two.workers.facts(MODEL)
        assert facts is not None
        assert facts.max_rows == 8
        assert two.workers.facts("nobody") is None
        first.state = State.READY
