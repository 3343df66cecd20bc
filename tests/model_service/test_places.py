"""Which place a batch gets, and what a place says of its thread."""

from __future__ import annotations

import pytest

from model_service.places import Place, Places
from model_service.threads import ComputeThread


def places(threads: int) -> Places:
    """Return the places of that many threads, none of which is started."""
    return Places([ComputeThread(f"compute-{number}") for number in range(threads)])


def claimed(found: Place | None) -> Place:
    """Return a place that must be there."""
    assert found is not None
    return found


def test_a_single_thread_has_a_second_place_for_what_may_wait_with_it() -> None:
    """Only a batch that may wait gets the second place, and never a third."""
    found = places(1)
    first = claimed(found.claim(may_wait=True))
    assert found.claim(may_wait=False) is None
    second = claimed(found.claim(may_wait=True))
    assert second is not first
    assert second.thread is first.thread
    assert found.claim(may_wait=True) is None


@pytest.mark.parametrize("first_back", [0, 1])
def test_a_thread_is_idle_when_both_places_are_back(first_back: int) -> None:
    """Whichever comes back first, the thread counts as busy until the other does."""
    found = places(1)
    taken = [claimed(found.claim(may_wait=True)) for _ in range(2)]
    found.release(taken[first_back])
    assert not found.idle
    found.release(taken[1 - first_back])
    assert len(found.idle) == 1
    assert found.claim(may_wait=False) is not None
    assert found.claim(may_wait=True) is not None


def test_several_threads_have_one_place_each() -> None:
    """No batch waits with one thread while another may become idle before."""
    found = places(3)
    taken = [claimed(found.claim(may_wait=True)) for _ in range(3)]
    assert len({place.thread for place in taken}) == 3
    assert found.claim(may_wait=True) is None
    found.release(taken[1])
    assert found.claim(may_wait=False) is taken[1]


def test_what_waits_with_a_thread_does_not_hang() -> None:
    """A place whose computation has not begun is no sign of a model that hangs; the one before it is."""
    found = places(1)
    first, second = (claimed(found.claim(may_wait=True)) for _ in range(2))
    for place in (first, second):
        place.is_computing, place.is_left = True, True
    assert not found.all_hang(1.0)
    first.begun_at = 0.0
    assert found.all_hang(1.0)
    second.is_left = False
    assert found.all_hang(1.0)
    first.is_left = False
    assert not found.all_hang(1.0)


def test_rows_wait_until_their_thread_begins_them() -> None:
    """What was handed to a thread and not begun still counts as waiting."""
    found = places(1)
    place = claimed(found.claim(may_wait=False))
    place.rows, place.is_computing = 7, True
    assert found.rows_waiting == 7
    place.begun_at = 1.0
    assert found.rows_waiting == 0
    found.ended(place)
    place.is_computing = False
    assert found.rows_waiting == 0
    assert not found.any_computing()


def test_the_end_of_a_computation_is_the_end_of_waiting_for_both_places() -> None:
    """What waits with a thread was queued before its thread had nothing to do."""
    found = places(1)
    first, second = (claimed(found.claim(may_wait=True)) for _ in range(2))
    found.ended(first)
    assert second.idle_since == pytest.approx(first.idle_since, abs=0.01)
    assert second.idle_since > 0
