"""An input that kills workers is remembered beyond the request that brought it; one that is answered is forgotten."""

from __future__ import annotations

import asyncio

import pytest

from gateway.quarantine import fingerprint_of
from gateway.suspicions import Suspicions
from inference_core import errors
from inference_core.batching import Entry
from inference_core.deadline import Deadline
from tests.gateway.hop import MODEL, rows
from tests.gateway.mortals import Mortal, mortals, one_in


def entry(value: float) -> Entry:
    """Return a request for one row."""
    return Entry("key", rows(value), Deadline.after(60))


async def test_deaths_are_counted_for_each_input() -> None:
    """Two deaths with an input are two, however often it was in the batch; another input has none."""
    suspicions = Suspicions(lambda _: None)
    suspicions.note(MODEL, [entry(1), entry(1)])
    suspicions.note(MODEL, [entry(1)])
    assert [suspicions.deaths(MODEL, entry(value)) for value in (1, 2)] == [2, 0]
    assert suspicions.deaths("other", entry(1)) == 0
    assert suspicions.deaths(MODEL, entry(1), "1") == 0


async def test_an_answer_clears_an_input() -> None:
    """What a worker answered did not kill it."""
    survivors: list[bytes] = []
    suspicions = Suspicions(survivors.append)
    suspicions.note(MODEL, [entry(1), entry(2)])
    suspicions.clear(MODEL, [entry(1), entry(3)])
    assert [suspicions.deaths(MODEL, entry(value)) for value in (1, 2)] == [0, 1]
    assert survivors == [fingerprint_of(MODEL, rows(1))]


async def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many inputs were about when workers died, only so many are remembered, the newest."""
    monkeypatch.setattr("gateway.suspicions.MOST", 3)
    suspicions = Suspicions(lambda _: None)
    suspicions.note(MODEL, [entry(value) for value in range(10)])
    assert len(suspicions) == 3


async def test_an_impatient_client_cannot_kill_for_ever() -> None:
    """A killer whose client gives up each time is found all the same, after three deaths in all."""
    them = [Mortal(one_in({5}), returns=True) for _ in range(2)]
    async with mortals(*them) as two:
        for _ in range(10):
            asked = asyncio.create_task(two.ask(5, seconds=0.6))
            answer = (await asyncio.gather(asked, return_exceptions=True))[0]
            assert isinstance(answer, errors.InferenceHubError)
            await two.ready(2)
            if isinstance(answer, errors.WorkerKiller):
                break
        assert isinstance(answer, errors.WorkerKiller)
        assert len([death for mortal in them for death in mortal.deaths]) <= 3


async def test_one_trial_clears_all_that_have_the_same_input() -> None:
    """A popular input that stood beside deaths runs alone once; those that wait with the same go together again."""
    them = [Mortal(lambda _: False) for _ in range(2)]
    async with mortals(*them) as two:
        assert await two.ask_all(1, first=7) == [7]
        for _ in range(5):
            two.dispatcher._shared.suspicions.note(MODEL, [entry(7)])
        answers = await asyncio.gather(*(two.ask(7) for _ in range(40)))
        assert len(answers) == 40
        alone = [call for mortal in them for call in mortal.fake.calls if call.alone]
        assert len(alone) == 1
        await two.idle()
