"""The Batcher's contract, lines 1 to 4; the others are in test_batching_failures."""

from __future__ import annotations

import asyncio

import pytest

from inference_core.admission import Limits
from inference_core.batching import Entry
from inference_core.errors import DeadlineExceeded, Overloaded
from inference_core.tensors import Arrays
from tests.inference_core.desk import LONG, Desk, settled
from tests.virtual_time import in_virtual_time


def keys(desk: Desk) -> list[object]:
    """Return the keys of the batches so far."""
    return [batch.entries[0].key for batch in desk.batches]


# 1. It never waits by the clock unless told to.


@in_virtual_time
async def test_an_idle_place_takes_what_comes_at_once() -> None:
    """A request that finds an idle place is on its way at the very time it came, with what came beside it."""
    desk = Desk(places=2)
    desk.send(desk.entry(), desk.entry())
    began = asyncio.get_running_loop().time()
    await settled()
    assert [(len(batch.entries), batch.reason, batch.formed_at) for batch in desk.batches] == [(2, "idle", began)]
    desk.answer(desk.batches[0])
    await settled()
    assert desk.is_clean()


@in_virtual_time
async def test_while_all_are_busy_the_queue_is_the_next_batch() -> None:
    """Whatever arrives while the places are busy leaves together when one becomes idle."""
    desk = Desk(places=1, max_rows=8)
    for number in range(4):
        desk.send(desk.entry())
        await asyncio.sleep(number)
    assert [batch.rows for batch in desk.batches] == [1]
    desk.answer(desk.batches[0])
    await settled()
    assert [batch.rows for batch in desk.batches] == [1, 3]


@in_virtual_time
async def test_a_batch_is_held_for_max_delay_unless_it_is_full() -> None:
    """With max_delay a partial batch leaves after that many seconds, a full one at once."""
    desk = Desk(places=2, max_rows=2, max_delay=0.5)
    desk.send(desk.entry("held"))
    await asyncio.sleep(0.2)
    desk.send(desk.entry("full"), desk.entry("full"))
    await asyncio.sleep(0.1)
    assert [(batch.reason, len(batch.entries)) for batch in desk.batches] == [("full", 2)]
    await asyncio.sleep(0.3)
    assert [(batch.reason, len(batch.entries)) for batch in desk.batches] == [("full", 2), ("delay", 1)]
    held = desk.batches[1]
    assert held.formed_at == pytest.approx(held.entries[0].queued_at + 0.5, abs=1e-6)


@in_virtual_time
async def test_a_place_that_comes_later_finds_what_waits() -> None:
    """With no place at all requests wait, and leave when one wakes the Batcher."""
    desk = Desk(places=1)
    desk.idle.clear()
    desk.send(desk.entry())
    await asyncio.sleep(1)
    assert desk.batches == []
    desk.release(0)
    desk.batcher.wake()
    await settled()
    assert len(desk.batches) == 1


# 2. `submit` never blocks.


@in_virtual_time
async def test_a_full_queue_refuses_at_once() -> None:
    """What would exceed the rows or bytes that may wait is refused, and is counted nowhere."""
    desk = Desk(places=0, limits=Limits(3, 1 << 20, LONG))
    desk.batcher.submit(desk.entry(rows=3))
    with pytest.raises(Overloaded) as refused:
        desk.batcher.submit(desk.entry())
    assert (refused.value.reason, desk.batcher.queued_rows) == ("full", 3)


@in_virtual_time
async def test_a_wait_beyond_the_deadline_is_refused_with_the_wait() -> None:
    """Once the rate is known, a request that would be late is refused at once and told for how long it would wait."""
    desk = Desk(places=1, max_rows=1)
    desk.send(*[desk.entry() for _ in range(12)])
    await settled()
    for _ in range(2):
        await asyncio.sleep(1)
        desk.answer(desk.batches[-1])
        await settled()
    with pytest.raises(Overloaded) as refused:
        desk.batcher.submit(desk.entry(seconds=5.0))
    assert refused.value.reason == "deadline"
    assert refused.value.wait_seconds == pytest.approx(9, rel=0.01)
    desk.batcher.submit(desk.entry(seconds=25.0))


@in_virtual_time
async def test_a_deadline_that_has_passed_is_refused() -> None:
    """Nobody queues who is late already."""
    desk = Desk()
    with pytest.raises(DeadlineExceeded):
        desk.batcher.submit(desk.entry(seconds=0))
    assert desk.is_clean()


# 3. One request's fate is its own.


@in_virtual_time
async def test_who_leaves_the_queue_is_not_in_the_batch() -> None:
    """A client that leaves while it waits is out at once, and its neighbours are answered."""
    desk = Desk(places=1)
    first, leaver, stayer = desk.send(desk.entry(), desk.entry("later"), desk.entry("later"))
    await settled()
    leaver.cancel()
    await settled()
    assert desk.batcher.queued_rows == 1
    desk.answer(desk.batches[0])
    await settled()
    assert len(desk.batches[1].entries) == 1
    desk.answer(desk.batches[1])
    await asyncio.gather(first, stayer)
    await settled()
    assert leaver.cancelled()
    assert desk.is_clean()


@in_virtual_time
async def test_who_leaves_as_the_batch_is_formed_is_not_in_it() -> None:
    """A client cancelled in the very turn of the loop in which its batch is formed is not computed."""
    desk = Desk(places=1)
    leaver, stayer = desk.send(desk.entry(), desk.entry())
    await asyncio.sleep(0)
    leaver.cancel()
    await settled()
    assert len(desk.batches[0].entries) == 1
    desk.answer(desk.batches[0])
    await stayer
    await settled()
    assert desk.is_clean()


@in_virtual_time
async def test_a_running_batch_goes_on_for_those_who_stay() -> None:
    """One client of a running batch leaves, by every way at once, and the others get their answers."""
    desk = Desk()
    entry = desk.entry()
    leaver, stayer = desk.send(entry, desk.entry())
    await settled()
    desk.batcher.withdraw(entry)
    desk.batcher.withdraw(entry)
    leaver.cancel()
    await settled()
    assert desk.cancelled == []
    desk.answer(desk.batches[0])
    await stayer
    await settled()
    assert desk.is_clean()


@in_virtual_time
async def test_a_batch_is_cancelled_when_the_last_client_leaves() -> None:
    """A running batch whose clients have left, expired or been answered is called back as the last of them leaves."""
    desk = Desk()
    answered = desk.entry()
    tasks = desk.send(answered, desk.entry(), desk.entry(seconds=1.0))
    await settled()
    desk.batcher.resolve(answered, {})
    tasks[1].cancel()
    await settled()
    assert desk.cancelled == []
    await asyncio.sleep(1.1)
    assert desk.cancelled == desk.batches
    assert desk.is_clean()
    assert isinstance(tasks[2].exception(), DeadlineExceeded)


@in_virtual_time
async def test_a_batch_that_nobody_waits_for_before_it_begins_leaks_no_place() -> None:
    """Every client leaves between the forming of a batch and its first step: it never runs, its place is free again."""
    desk = Desk()
    entry = desk.entry()
    desk.batcher.submit(entry)
    asyncio.get_running_loop().call_soon(desk.batcher.withdraw, entry)
    await settled()
    assert desk.batches == []
    assert desk.is_clean()


@in_virtual_time
async def test_leaving_after_the_answer_changes_nothing() -> None:
    """A client that leaves when it has been answered takes nothing from anybody."""
    desk = Desk()
    entry, neighbour = desk.entry(), desk.entry()
    desk.send(entry)
    await settled()
    desk.send(neighbour)
    desk.answer(desk.batches[0])
    desk.batcher.withdraw(entry)
    await settled()
    assert not entry.future.cancelled()
    assert desk.batches[1].waiting() == [neighbour]


@in_virtual_time
async def test_a_deadline_ends_the_wait_in_the_queue() -> None:
    """Who is late in the queue is told so within a tick, leaves it, and is never computed."""
    desk = Desk(places=0)
    late, patient = desk.send(desk.entry(seconds=0.5), desk.entry(seconds=9.0))
    await asyncio.sleep(0.51)
    assert isinstance(late.exception(), DeadlineExceeded)
    assert not patient.done()
    assert desk.batcher.queued_rows == 1


@in_virtual_time
async def test_who_is_late_by_less_than_a_tick_is_not_computed_either() -> None:
    """A batch formed after a deadline, but before its timer, goes without that entry; without any, nothing runs."""
    desk = Desk(places=1)
    late = desk.entry(seconds=0.5001)
    (task,) = desk.send(late)
    place = desk.claim(alone=False)
    assert place is not None
    await asyncio.sleep(0.5002)
    assert not task.done()
    desk.release(place)
    desk.batcher.wake()
    await settled()
    assert isinstance(task.exception(), DeadlineExceeded)
    assert desk.batches == []
    assert desk.is_clean()


# 4. Only entries of one key share a batch.


@in_virtual_time
async def test_batches_never_mix_keys_nor_exceed_the_rows() -> None:
    """Rows are counted, not requests; keys take turns; a request larger than a batch travels alone."""
    desk = Desk(places=9, max_rows=4)
    sizes = [("a", 3), ("b", 1), ("a", 2), ("a", 9), ("b", 3), ("a", 1)]
    desk.send(*[desk.entry(key, rows) for key, rows in sizes])
    await settled()
    shapes = [(keys(desk)[index], [entry.rows for entry in batch.entries]) for index, batch in enumerate(desk.batches)]
    assert shapes == [("a", [3]), ("b", [1, 3]), ("a", [2]), ("a", [9]), ("a", [1])]


@in_virtual_time
async def test_hundreds_of_keys_are_all_served() -> None:
    """With a key for each request each leaves alone, in the order of arrival, and no trace of the keys stays."""
    desk = Desk(places=1)
    tasks = desk.send(*[desk.entry(number) for number in range(500)])
    order = []
    for _ in range(500):
        await settled()
        order.extend(keys(desk))
        desk.answer(desk.batches.pop())
    await asyncio.gather(*tasks)
    await settled()
    assert order == list(range(500))
    assert desk.is_clean()
    assert not desk.batcher._lanes


@in_virtual_time
async def test_an_entry_without_a_byte_travels_as_any_other() -> None:
    """Rows of no width take their place, and their answers have the same rows."""
    desk = Desk()
    entries = [desk.entry(), desk.entry()]
    for entry in entries:
        entry.inputs = {"x": entry.inputs["x"][:, :0]}
    tasks = desk.send(*entries)
    await settled()
    desk.answer(desk.batches[0])
    assert [answer["x"].shape for answer in await asyncio.gather(*tasks)] == [(1, 0), (1, 0)]


@in_virtual_time
async def test_a_request_without_inputs_counts_as_one_row() -> None:
    """A model may take nothing; its requests are counted all the same."""
    desk = Desk(places=0)
    nothing: Arrays = {}
    desk.send(Entry("key", nothing, desk.entry().deadline))
    await settled()
    assert desk.batcher.queued_rows == 1
