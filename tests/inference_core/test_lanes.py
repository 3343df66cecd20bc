"""The order in which entries leave."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.lanes import BACKGROUND_TURN, Lanes


@dataclass(eq=False)
class Item:
    """What a lane needs to know."""

    key: Hashable = "key"
    rows: int = 1
    background: bool = False
    queued_at: float = 0.0


ITEMS = st.builds(Item, st.sampled_from("ab"), st.integers(1, 6), st.booleans(), st.floats(0, 1))


def filled(*items: Item, max_rows: int = 4, max_delay: float = 0.0) -> Lanes[Item]:
    """Return lanes with these items, in their order."""
    lanes: Lanes[Item] = Lanes(max_rows, max_delay)
    for item in items:
        lanes.append(item)
    return lanes


@given(
    items=st.lists(ITEMS, max_size=30),
    max_rows=st.integers(1, 5),
    newest_first=st.booleans(),
    removed=st.sets(st.integers(0, 29)),
)
def test_everything_leaves_once_in_batches_of_one_key(
    *, items: list[Item], max_rows: int, newest_first: bool, removed: set[int]
) -> None:
    """Whatever is queued and not taken out leaves exactly once, with its own key, and no batch is too large."""
    lanes = filled(*items, max_rows=max_rows)
    gone = [item for number, item in enumerate(items) if number in removed]
    assert all(lanes.remove(item) for item in gone)
    assert not any(lanes.remove(item) for item in gone)
    left: list[Item] = []
    while lanes:
        batch, reason = lanes.take(0.0, newest_first=newest_first)
        rows = sum(item.rows for item in batch)
        assert len({item.key for item in batch}) == 1
        assert rows <= max_rows or len(batch) == 1
        assert reason == ("full" if rows >= max_rows else "idle")
        left.extend(batch)
    assert sorted(map(id, left)) == sorted(id(item) for item in items if item not in gone)
    assert list(lanes) == []


def test_a_lane_leaves_in_the_order_of_arrival() -> None:
    """Within a key the oldest go first, or the newest where that is asked for."""
    items = [Item() for _ in range(6)]
    assert filled(*items).take(0.0) == (items[:4], "full")
    assert filled(*items).take(0.0, newest_first=True) == (items[:1:-1], "full")


def test_what_does_not_fit_stays_in_its_place() -> None:
    """An entry that would make the batch too large is the first of the next."""
    items = [Item(rows=3), Item(rows=2), Item(rows=1)]
    lanes = filled(*items)
    assert lanes.take(0.0) == (items[:1], "idle")
    assert lanes.take(0.0) == (items[1:], "idle")


def test_an_entry_larger_than_a_batch_leaves_alone() -> None:
    """It is neither split nor refused."""
    items = [Item(rows=9), Item()]
    assert filled(*items).take(0.0) == (items[:1], "full")


def test_keys_take_turns() -> None:
    """A long lane does not hold up a short one."""
    items = [Item("long"), Item("long"), Item("short"), Item("long")]
    lanes = filled(*items, max_rows=1)
    assert [lanes.take(0.0)[0][0].key for _ in items] == ["long", "short", "long", "long"]


def test_prepended_entries_are_next() -> None:
    """Who is put back leaves before all others of the class, whatever lane that is."""
    lanes = filled(Item("one"), Item("two"), Item("two"))
    again = Item("two")
    lanes.prepend(again)
    assert lanes.take(0.0)[0][0] is again


@pytest.mark.parametrize("background", [False, True])
def test_a_batch_is_filled_up_from_the_other_class(*, background: bool) -> None:
    """Spare rows of a batch go to entries of the same key in the other class."""
    lanes = filled(Item(background=background))
    if background:
        lanes._since_background = BACKGROUND_TURN
    other = Item(background=not background)
    lanes.append(other)
    assert other in lanes.take(0.0)[0]


def test_background_begins_every_twentieth_batch() -> None:
    """While both classes wait, the lower one begins one batch in BACKGROUND_TURN; when it is alone, every one."""
    items = [Item("interactive") for _ in range(100)] + [Item("background", background=True) for _ in range(9)]
    lanes = filled(*items, max_rows=1)
    order = [lanes.take(0.0)[0][0].background for _ in items]
    assert [number for number, is_background in enumerate(order) if is_background][:5] == [19, 39, 59, 79, 99]
    assert all(order[105:])


def test_the_oldest_is_known_for_each_class() -> None:
    """The longest wait of a class is that of its oldest entry in any lane."""
    lanes = filled(Item("one", queued_at=3), Item("two", queued_at=5), Item(background=True, queued_at=1))
    assert lanes.oldest(background=False) == 3
    assert lanes.oldest(background=True) == 1
    assert filled().oldest(background=False) is None
    assert [item.queued_at for item in lanes.older_than(5)] == [3, 1]


def test_a_partial_batch_is_held() -> None:
    """With max_delay the pause lasts until the oldest has waited that long, and the reason says so."""
    lanes = filled(Item(queued_at=1.0), Item(queued_at=1.5), max_delay=2.0)
    assert lanes.pause(1.5) == 1.5
    assert lanes.pause(3.0) == 0
    assert lanes.take(3.0)[1] == "delay"


def test_a_full_lane_does_not_wait_behind_a_held_one() -> None:
    """The first batch that may leave does, and the held one is still there."""
    held = Item("held", queued_at=1.0)
    lanes = filled(
        held, Item("full", rows=3, queued_at=1.0), Item("full", background=True, queued_at=1.0), max_delay=9.0
    )
    assert lanes.pause(1.0) == 0
    batch, reason = lanes.take(1.0)
    assert ({item.key for item in batch}, reason) == ({"full"}, "full")
    assert list(lanes) == [held]
    assert lanes.pause(1.0) == 9.0


def test_without_max_delay_nothing_is_held() -> None:
    """The default has no timer."""
    assert filled(Item(queued_at=1e9)).pause(0.0) == 0
