"""The Batcher's contract, lines 5 and 6: failures, requests put back, the lower class, overload and the end."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from inference_core.admission import Limits
from inference_core.batching import UNANSWERED, Batch
from inference_core.errors import DeadlineExceeded, ModelFailed, Overloaded
from tests.inference_core.desk import Desk, settled
from tests.virtual_time import in_virtual_time

# 5. Whatever a consumer does, every entry of its batch is answered, exactly once, or put back.


@in_virtual_time
async def test_an_error_of_the_consumer_is_everybodys_answer() -> None:
    """What a consumer raises reaches each client of that batch, and the place is free again."""
    desk = Desk()
    tasks = desk.send(desk.entry(), desk.entry())
    await settled()
    boom = ValueError("boom")
    desk.end(desk.batches[0], boom)
    assert await asyncio.gather(*tasks, return_exceptions=True) == [boom, boom]
    await settled()
    assert desk.is_clean()


@pytest.mark.parametrize("error", [None, asyncio.CancelledError()])
@in_virtual_time
async def test_a_consumer_that_ends_without_an_answer_is_told_to_the_client(error: BaseException | None) -> None:
    """Who was not answered when the consumer returned, or gave up, is told so; the others keep their answers."""
    desk = Desk()
    answered = desk.entry()
    tasks = desk.send(answered, desk.entry())
    await settled()
    desk.batcher.resolve(answered, "answer")
    desk.end(desk.batches[0], error)
    answer, failure = await asyncio.gather(*tasks, return_exceptions=True)
    assert answer == "answer"
    assert isinstance(failure, ModelFailed)
    assert failure.message == UNANSWERED
    await settled()
    assert desk.is_clean()


@in_virtual_time
async def test_only_the_first_answer_counts() -> None:
    """A second answer or error for the same request is dropped."""
    desk = Desk()
    entry = desk.entry()
    (task,) = desk.send(entry)
    await settled()
    desk.batcher.resolve(entry, "first")
    desk.batcher.resolve(entry, "second")
    desk.batcher.fail(entry, ModelFailed("Third."))
    desk.batcher.put_back([entry])
    desk.end(desk.batches[0], ValueError("fourth"))
    assert await task == "first"
    await settled()
    assert desk.is_clean()


@in_virtual_time
async def test_what_was_answered_is_let_go() -> None:
    """Nothing keeps a request's inputs when it has its answer, so that memory needs no garbage collector."""
    desk = Desk()
    entry = desk.entry()
    gone = weakref.ref(entry.inputs["x"])
    tasks = desk.send(entry)
    del entry
    gc.disable()
    try:
        await settled()
        desk.answer(desk.batches.pop())
        desk._ends.clear()
        await tasks.pop()
        await settled()
        assert gone() is None
    finally:
        gc.enable()


@in_virtual_time
async def test_halves_that_were_put_back_come_first_and_never_meet_again() -> None:
    """Entries put back with keys of their own leave before all others, in their order, each half for itself."""
    desk = Desk()
    entries = [desk.entry(), desk.entry()]
    tasks = desk.send(*entries)
    await settled()
    tasks += desk.send(desk.entry())
    await settled()
    lost = desk.batches[0]
    for half, entry in reversed(list(enumerate(entries))):
        entry.key = (entry.key, half)
        desk.batcher.put_back([entry])
    assert lost.waiting() == []
    assert desk.batcher.queued_rows == 3
    desk.end(lost, ValueError("the others were put back, so nobody hears this"))
    seen = []
    for _ in range(3):
        await settled()
        seen.append(desk.batches[-1].entries[0].key)
        desk.answer(desk.batches[-1])
    await asyncio.gather(*tasks)
    await settled()
    assert seen == [("key", 0), ("key", 1), "key"]
    assert desk.is_clean()


@in_virtual_time
async def test_put_back_keeps_the_order() -> None:
    """A batch that is put back whole leaves again as it was, ahead of what came since; so do lonely entries."""
    desk = Desk()
    entries = [desk.entry(), desk.entry()]
    desk.send(*entries)
    await settled()
    desk.send(desk.entry())
    await settled()
    desk.batcher.put_back(entries)
    desk.end(desk.batches[0])
    await settled()
    assert desk.batches[1].entries[:2] == entries
    desk.batcher.put_back(entries, alone=True)
    desk.end(desk.batches[1])
    await settled()
    assert desk.batches[2].entries == entries[:1]


@in_virtual_time
async def test_an_entry_put_back_alone_shares_nothing() -> None:
    """It travels by itself at a place claimed for it alone, ahead of others of its key."""
    desk = Desk(places=1)
    lonely = desk.entry()
    desk.send(lonely, desk.entry())
    await settled()
    desk.batcher.put_back(desk.batches[0].waiting(), alone=True)
    desk.end(desk.batches[0])
    await settled()
    assert (desk.batches[1].entries, desk.batches[1].reason, desk.alone) == ([lonely], "alone", {0})
    desk.answer(desk.batches[1])
    await settled()
    assert desk.batches[2].reason == "alone"


@in_virtual_time
async def test_a_place_kept_free_is_given_up_when_nobody_wants_it() -> None:
    """When the last entry that waits for a place of its own leaves, the consumers hear of it."""
    desk = Desk(places=1)
    lonely = desk.entry()
    (task,) = desk.send(lonely)
    await settled()
    desk.batcher.put_back([lonely], alone=True)
    await settled()
    assert desk.unreserved == 0
    task.cancel()
    await settled()
    assert desk.unreserved == 1
    desk.end(desk.batches[0])
    await settled()
    assert desk.is_clean()


@in_virtual_time
async def test_a_put_back_entry_may_be_answered_by_the_batch_it_left() -> None:
    """The first answer takes it out of the queue, so that it is neither counted nor computed any more."""
    desk = Desk()
    entry = desk.entry()
    (task,) = desk.send(entry)
    await settled()
    desk.batcher.put_back([entry])
    desk.batcher.put_back([entry], alone=True)
    desk.batcher.put_back([entry])
    assert desk.batcher.queued_rows == 1
    assert entry.alone  # once alone, always alone
    desk.batcher.resolve(entry, "slow, but first")
    desk.end(desk.batches[0])
    assert await task == "slow, but first"
    await settled()
    assert len(desk.batches) == 1
    assert desk.is_clean()


@in_virtual_time
async def test_a_deadline_goes_on_through_put_back() -> None:
    """Put back does not give more time."""
    desk = Desk()
    entry = desk.entry(seconds=1.0)
    (task,) = desk.send(entry)
    await asyncio.sleep(0.5)
    desk.batcher.put_back([entry])
    await asyncio.sleep(0.51)
    assert isinstance(task.exception(), DeadlineExceeded)
    desk.end(desk.batches[0])
    await settled()
    assert desk.is_clean()


# The lower class, a standing queue, the end.


async def served(desk: Desk, count: int) -> list[Batch]:
    """Answer so many batches, one after the other, while both classes always have somebody waiting."""
    for _ in range(count):
        desk.send(desk.entry(), desk.entry("other"), desk.entry(background=True))
        await settled()
        desk.answer(desk.batches[-1])
        await settled()
    return desk.batches


@in_virtual_time
async def test_the_background_gives_way_and_never_starves() -> None:
    """While both classes wait, one batch in twenty begins with a background entry."""
    desk = Desk(max_rows=1)
    firsts = []
    run = desk.run

    async def noted(place: int, batch: Batch) -> None:
        firsts.append(batch.entries[0].background)
        await run(place, batch)

    desk.run = noted  # type: ignore[method-assign]  # the entries are gone once a batch has ended
    await served(desk, 205)
    assert 9 <= firsts.count(True) <= 11


@in_virtual_time
async def test_a_standing_queue_sheds_the_oldest_and_serves_the_newest() -> None:
    """Where the limits say so, a queue that stands refuses who waited too long and serves the newest first."""
    desk = Desk(max_rows=1, limits=Limits(1000, 1 << 20, 0.01, sheds=True))
    waiting = [desk.entry() for _ in range(30)]
    desk.send(*waiting)
    newest_served = []
    for _ in range(8):
        await asyncio.sleep(0.02)
        newest = desk.entry()
        desk.send(newest)
        await settled()
        desk.answer(desk.batches[-1])
        await settled()
        newest_served.append(desk.batches[-1].entries == [newest])
    assert newest_served.index(True) > 2
    shed = [entry for entry in waiting if entry.future.done() and entry.future.exception() is not None]
    assert len(shed) > 20
    assert {type(entry.future.exception()) for entry in shed} == {Overloaded}


@in_virtual_time
async def test_close_answers_what_waits_and_waits_for_what_runs() -> None:
    """At the end the queue is told that it is late, a running batch is waited for, and nobody comes in any more."""
    desk = Desk(places=1)
    (running,) = desk.send(desk.entry())
    await settled()
    queued, lonely = desk.send(desk.entry("other"), desk.entry())
    await settled()
    desk.batcher.put_back([], alone=True)
    closing = asyncio.get_running_loop().create_task(desk.batcher.close())
    await settled()
    assert [isinstance(task.exception(), DeadlineExceeded) for task in (queued, lonely)] == [True, True]
    assert not closing.done()
    with pytest.raises(DeadlineExceeded):
        desk.batcher.submit(desk.entry())
    desk.answer(desk.batches[0])
    await closing
    assert running.done()
    assert desk.is_clean()


@in_virtual_time
async def test_a_batch_lost_while_closing_is_not_begun_again() -> None:
    """Whoever is put back after `close` is answered at once, so that nothing outlives it."""
    desk = Desk(places=1)
    entry = desk.entry()
    (task,) = desk.send(entry)
    await settled()
    closing = asyncio.get_running_loop().create_task(desk.batcher.close())
    await settled()
    desk.batcher.put_back([entry])
    desk.end(desk.batches[0])
    await closing
    assert isinstance(task.exception(), DeadlineExceeded)
    assert desk.is_clean()
