"""Who may be killing workers runs where nothing else can be hurt, and keeps nothing from the others."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import pytest

from inference_core import errors
from tests.gateway.fake_worker import Asked, FakeWorker, echo
from tests.gateway.hop import MODEL, class_of, hop
from tests.gateway.mortals import Mortal, mortals

RESERVED = 0.2


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a worker free for a short time only."""
    monkeypatch.setattr("gateway.isolation.RESERVED_SECONDS", RESERVED)
    monkeypatch.setattr("gateway.workers.RESERVED_SECONDS", RESERVED)


async def test_a_lonely_input_shares_its_worker_with_nobody() -> None:
    """While a suspect runs, its worker runs nothing else, and another suspect waits; other workers go on."""
    together: list[tuple[int, bool]] = []
    fakes: list[FakeWorker] = []
    losses = Counter[int]()

    def deadly(asked: Asked) -> bool:
        suspicious = {1, 2} & set(asked.values)
        losses.update(suspicious)
        return bool(suspicious) and not asked.alone

    two = [Mortal(deadly), Mortal(deadly)]
    fakes = [mortal.fake for mortal in two]
    async with mortals(*two) as both:
        for fake in fakes:
            before = fake.before

            async def watch(asked: Asked, fake: FakeWorker = fake, before: Callable = before) -> None:  # type: ignore[type-arg]  # its own one's type
                lonely = sum(call.alone != "" and not _is_over(call) for each in fakes for call in each.calls)
                together.append((lonely, bool(asked.alone) and fake.busy > 1))
                await before(asked)
                await asyncio.sleep(0.02 if asked.alone else 0.001)

            fake.before = watch

        async def traffic(first: int) -> list[int | BaseException]:
            found: list[int | BaseException] = []
            for number in range(30):
                found += await both.ask_all(3, first=first + 3 * number)
            return found

        suspects = asyncio.gather(both.ask_all(1, first=1), both.ask_all(1, first=2))
        assert await traffic(100) == list(range(100, 190))
        assert list(await suspects) == [[1], [2]]
        assert max(lonely for lonely, _ in together) == 1
        assert not any(shared for _, shared in together)
        await both.idle()


def _is_over(call: Asked) -> bool:
    return call.ended in {"answered", "cancelled"}


async def test_a_reserved_worker_is_given_back() -> None:
    """A suspect that never comes for the worker that is kept free for it leaves that worker to the others."""
    async with hop(FakeWorker(answer=echo)) as one:
        (slot,) = one.workers.slots
        assert one.workers.claim(MODEL) is slot
        assert one.workers.claim(MODEL, alone=True) is None
        asked = asyncio.create_task(one.ask(3))
        await asyncio.sleep(0)
        one.workers.release(MODEL, slot)
        started = time.monotonic()
        assert class_of(await asyncio.wait_for(asked, 3.0)) == 3
        assert time.monotonic() - started > RESERVED / 2


async def test_a_worker_is_kept_free_for_whoever_still_wants_it() -> None:
    """However long it takes until the worker runs nothing, nobody else gets a place there before."""
    async with hop(FakeWorker(answer=echo)) as one:
        (slot,) = one.workers.slots
        assert one.workers.claim(MODEL) is slot

        def want() -> None:
            one.workers.claim(MODEL, alone=True)

        one.workers.listen(want)
        assert one.workers.claim(MODEL, alone=True) is None
        with pytest.raises(errors.DeadlineExceeded):
            await one.ask(1, seconds=2 * RESERVED)
        assert slot.in_flight == {(MODEL, ""): 1}
        one.workers.release(MODEL, slot)
        assert slot.in_flight == {(MODEL, ""): 1}
        assert one.workers.claim(MODEL) is None
        one.workers.release(MODEL, slot)


async def test_the_idlest_worker_is_kept_free_and_a_lost_one_is_not_waited_for() -> None:
    """The reservation goes to whoever will be free first, and to another one when that worker goes."""
    async with hop(FakeWorker(answer=echo), FakeWorker(answer=echo), batches_in_flight=2) as two:
        held = [two.workers.claim(MODEL) for _ in range(3)]
        busier = max(two.workers.slots, key=lambda slot: slot.batches)
        idler = min(two.workers.slots, key=lambda slot: slot.batches)
        assert two.workers.claim(MODEL, alone=True) is None
        assert two.workers._isolation.slot_now() is idler
        two.running[idler.number].line.cut()
        await two.ready(1)
        assert two.workers._isolation.slot_now() is None
        assert two.workers.claim(MODEL, alone=True) is None
        assert two.workers._isolation.slot_now() is busier
        for slot in held:
            assert slot is not None
            two.workers.release(MODEL, slot)
        assert two.workers.claim(MODEL, alone=True) is busier
        assert two.workers.claim(MODEL, alone=True) is None
        two.workers.release(MODEL, busier)
        assert two.workers._isolation.slot_now() is None


async def test_a_worker_that_is_kept_free_is_no_place_for_others() -> None:
    """While the only worker is kept free for a suspect, the others wait as in an outage, not as in an overload."""
    async with hop(FakeWorker(answer=echo)) as one:
        assert one.workers.has_places(MODEL)
        held = one.workers.claim(MODEL)
        assert held is not None
        assert one.workers.claim(MODEL, alone=True) is None
        assert not one.workers.has_places(MODEL)
        one.workers.unreserve()
        assert one.workers.has_places(MODEL)
        one.workers.release(MODEL, held)
