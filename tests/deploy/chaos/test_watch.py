"""Capacity is back when the last thing that was away is back."""

from __future__ import annotations

import math

from deploy.chaos.watch import Change, Probe, Watch, well_again
from tests.waiting import wait_for


def test_the_last_one_back_decides() -> None:
    """Of several that were away the slowest counts; what never changed counts not at all."""
    changes = {
        "steady": [Change(1.0, well=True)],
        "slow": [Change(1.0, well=True), Change(10.1, well=False), Change(13.0, well=True)],
        "quick": [Change(1.0, well=True), Change(10.1, well=False), Change(11.0, well=True)],
    }
    assert well_again(changes, 10.0) == 13.0
    assert well_again({"steady": [Change(1.0, well=True)]}, 10.0) == 10.0


def test_what_is_still_away_is_never_back() -> None:
    """One thing that is away, or was never seen, keeps the whole from being back."""
    away = [Change(1.0, well=True), Change(10.1, well=False)]
    assert well_again({"away": away, "steady": [Change(1.0, well=True)]}, 10.0) == math.inf
    assert well_again({"unseen": []}, 10.0) == math.inf


def test_a_watch_notes_changes_until_it_is_left() -> None:
    """Each change is noted once, with its moment."""
    state = [True]
    with Watch([Probe("it", lambda: state[0])]) as watch:
        wait_for(lambda: watch.changes()["it"], "a first look")
        state[0] = False
        wait_for(lambda: len(watch.changes()["it"]) == 2, "a second change")
        assert not watch.wait_until_well(0.0, seconds=0.1, steady=0.01)
        state[0] = True
        assert watch.wait_until_well(0.0, seconds=5, steady=0.1)
    assert [change.well for change in watch.changes()["it"]] == [True, False, True]
