"""Lost batches: everyone is answered exactly once, with the right answer, and only the input that kills gets a 500."""

from __future__ import annotations

import asyncio
import random
import signal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.quarantine import fingerprint_of
from gateway.replay import RetryBudget, halved
from gateway.slots import State
from inference_core import errors
from inference_core.batching import Entry
from inference_core.deadline import Deadline
from tests.gateway.fake_worker import Asked, FakeWorker, echo
from tests.gateway.hop import MODEL, hop, rows
from tests.gateway.mortals import Mortal, mortals, never, once, one_in
from tests.gateway.worker_process import DIES, process
from tests.waiting import eventually, eventually_answers


async def test_a_worker_that_dies_is_not_noticed() -> None:
    """A batch that was lost once is answered all the same, in two halves that never meet again."""
    async with mortals(Mortal(once()), Mortal(never), batches_in_flight=1) as two:
        two.running[1].line.cut()
        await two.ready(1)
        asked = asyncio.create_task(two.ask_all(8))
        await eventually(lambda: two.fakes[0].calls, "the death")
        await two.running[1].line.open()
        assert await asked == list(range(8))
        calls = [call for fake in two.fakes for call in fake.calls]  # the one that died may be back for a half
        assert sorted(len(call.values) for call in calls) == [4, 4, 8]
        assert {call.alone for call in calls} == {""}
        await two.idle()


async def test_an_input_that_kills_is_found_answered_and_refused() -> None:
    """It gets a 500 that says so, at once when it comes again; its neighbours and all others get their answers."""
    deadly = one_in({5})
    them = [Mortal(deadly, returns=False) for _ in range(4)]
    async with mortals(*them, batches_in_flight=1) as hop_:
        found = await hop_.ask_all(8)
        assert [answer for answer in found if not isinstance(answer, errors.WorkerKiller)] == [0, 1, 2, 3, 4, 6, 7]
        deaths = [asked for mortal in them for asked in mortal.deaths]
        assert len(deaths) <= 3
        assert [asked.values for asked in deaths if asked.alone] == [[5]]
        assert [asked.alone for asked in deaths if asked.alone] == [fingerprint_of(MODEL, rows(5)).hex()]
        calls = sum(len(mortal.fake.calls) for mortal in them)
        for _ in range(3):
            with pytest.raises(errors.WorkerKiller):
                await hop_.ask(5)
        assert sum(len(mortal.fake.calls) for mortal in them) == calls


@pytest.mark.parametrize(("seconds", "alone"), [(0.0, True), (0.1, False)], ids=["fast", "slow"])
async def test_while_killers_are_about_a_lost_batch_is_taken_apart(seconds: float, alone: bool) -> None:  # noqa: FBT001  # a parameter
    """Its inputs run alone at once, unless the model is so slow that they would be late one after the other."""
    mortal = Mortal(one_in({999}))
    async with mortals(mortal, batches_in_flight=1) as one:
        assert isinstance((await one.ask_all(1, first=999))[0], errors.WorkerKiller)
        die = mortal.fake.before

        async def slow(asked: Asked) -> None:
            await asyncio.sleep(seconds)
            await die(asked)

        mortal.fake.before = slow
        assert await one.ask_all(1) == [0]
        mortal.deadly = once()
        mortal.fake.calls.clear()
        assert await one.ask_all(8, seconds=1.5) == list(range(8))
        lost, *others = mortal.fake.calls
        assert len(lost.values) == 8
        assert [bool(asked.alone) for asked in others] == ([True] * 8 if alone else [False] * 2)


async def test_the_refusal_ends() -> None:
    """After `refuse_seconds` the input may try again: its model may have been mended."""
    mortal = Mortal(one_in({5}))
    async with mortals(mortal, refuse_seconds=0.2) as one:
        assert isinstance((await one.ask_all(1, first=5))[0], errors.WorkerKiller)
        mortal.deadly = never

        async def answered() -> bool:
            found = await one.ask_all(1, first=5)
            return found == [5]

        await eventually_answers(answered, "the end of the refusal", 3.0)


async def test_a_worker_that_leaves_no_note_is_believed_after_two_lonely_deaths() -> None:
    """A foreign server's deaths are counted instead: once with others, once in a half, twice alone."""
    mortal = Mortal(one_in({3}), leaves_notes=False)
    async with mortals(mortal, batches_in_flight=1) as one:
        found = await one.ask_all(4)
        assert [answer for answer in found if isinstance(answer, int)] == [0, 1, 2]
        assert isinstance(found[3], errors.WorkerKiller)
        assert [bool(asked.alone) for asked in mortal.deaths].count(True) == 2
        await one.idle()


async def test_a_drained_worker_accuses_nobody() -> None:
    """What a leaving worker cuts off is repeated as it was, without suspicion."""
    mortal = Mortal(never)
    async with mortals(mortal, Mortal(never), batches_in_flight=1) as two:
        two.running[1].line.cut()
        await two.ready(1)

        async def leave(_: Asked) -> None:
            mortal.fake.before = mortal._before
            await two.running[0].tell(healthy=False)
            await eventually(lambda: State.DRAINING in two.states(), "draining")
            await two.running[1].line.open()
            await eventually(lambda: State.READY in two.states(), "the other worker")
            two.running[0].line.cut()

        mortal.fake.before = leave
        assert await two.ask_all(6) == list(range(6))
        assert [len(call.values) for call in two.fakes[1].calls] == [6]


async def test_all_workers_die_at_once() -> None:
    """With every worker gone nobody is accused: requests wait, and the first worker that is back answers."""
    four = [Mortal(never) for _ in range(4)]
    async with mortals(*four) as all_four:
        assert await all_four.ask_all(4) == list(range(4))
        for round_ in range(5):
            asked = asyncio.create_task(all_four.ask_all(40))
            for _ in range(round_):
                await asyncio.sleep(0)
            for running in all_four.running:
                running.line.cut(for_good=False)
            assert await asked == list(range(40))
        await all_four.idle()


async def test_the_budget_bounds_what_is_sent_again() -> None:
    """With no budget a lost request is a 503 at once."""
    async with mortals(Mortal(once(), returns=False), Mortal(never), retry_ratio=0.0) as two:
        two.running[1].line.cut()
        await two.ready(1)
        found = await two.ask_all(3)
        assert [type(error) for error in found] == [errors.NoWorker] * 3
        await two.idle()


async def test_replay_stays_inside_the_deadline() -> None:
    """A request whose workers die until its time is over gets its answer in time."""
    async with mortals(Mortal(lambda _: True, leaves_notes=False, returns=False)) as one:
        deadline = Deadline.after(0.4)
        with pytest.raises(errors.NoWorker):
            await one.ask(1, seconds=0.4)
        assert 0 < deadline.remaining() < 0.2


async def test_a_killed_process_costs_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A real process that aborts in the middle of a batch: only the input that did it gets no answer."""
    async with hop(FakeWorker(answer=echo), FakeWorker(answer=echo)) as two:
        front = two.running[0].socket
        two.running[0].line.cut()
        await two.ready(1)
        with process(front) as popen:
            await two.ready(2)
            marked = 0
            while popen.poll() is None:
                found = asyncio.gather(*(two.ask_all(3, first=3 * number) for number in range(20)))
                assert await two.ask_all(1, DIES) == [DIES]
                assert [value for values in await found for value in values] == list(range(60))
                marked += 1
            assert popen.returncode == -signal.SIGABRT
            assert 0 < marked < 50


# What it is made of


def test_halves_keep_order_and_never_meet() -> None:
    """Halving keeps every entry once and in order, with keys that differ between the halves."""

    async def check() -> None:
        for count in range(9):
            entries = [Entry("key", rows(0), Deadline.after(1)) for _ in range(count)]
            halves = halved(entries)
            assert [entry for half in halves for entry in half] == entries
            assert len({entry.key for entry in entries}) == min(count, 2)
            assert all(len({entry.key for entry in half}) == 1 for half in halves)

    asyncio.run(check())


def test_a_budget_earns_and_spends() -> None:
    """It starts full, spends whole requests only, earns its ratio and never more than its burst."""
    budget = RetryBudget(0.5, 4)
    assert budget.spend(4)
    assert not budget.spend(1)
    for _ in range(2):
        budget.earn()
    assert not budget.spend(2)
    assert budget.spend(1)
    for _ in range(100):
        budget.earn()
    assert not budget.spend(5)
    assert budget.spend(4)
    assert not RetryBudget(0.0, 4).spend(1)
    assert RetryBudget(0.0, 4).spend(0)


@given(
    poison=st.sets(st.integers(0, 59), max_size=3),
    sizes=st.lists(st.integers(1, 4), min_size=5, max_size=25),
    seed=st.integers(0, 2**32),
    notes=st.booleans(),
    deaths=st.floats(0, 0.1),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_everyone_is_answered_exactly_once(
    poison: set[int],
    sizes: list[int],
    seed: int,
    notes: bool,  # noqa: FBT001  # a parameter of the test
    deaths: float,
) -> None:
    """Whatever dies whenever: each request gets its own rows or, if it holds poison, a 500; no place is lost."""
    chance = random.Random(seed)  # noqa: S311  # the seed makes the run repeatable
    budget = [3]

    def deadly(asked: Asked) -> bool:
        if poison & set(asked.values):
            return True
        if not asked.alone and budget[0] and chance.random() < deaths:
            budget[0] -= 1
            return True
        return False

    async def run() -> None:
        async with mortals(*(Mortal(deadly, leaves_notes=notes) for _ in range(2)), batches_in_flight=2) as two:
            starts = [sum(sizes[:number]) for number in range(len(sizes))]
            requests = [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]
            found = await asyncio.gather(*(two.ask(*values) for values in requests), return_exceptions=True)
            for values, answer in zip(requests, found, strict=True):
                if poison & set(values):
                    assert isinstance(answer, errors.WorkerKiller), (values, answer)
                else:
                    assert not isinstance(answer, BaseException), (values, answer)
                    assert answer.outputs["class_id"].tolist() == values
            await two.idle()

    asyncio.run(run())
