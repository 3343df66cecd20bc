"""Whether a shadow made requests slower, from rounds that are known."""

from __future__ import annotations

from deploy.shadow import Result, Round, verdict

GOOD = Round((0.01, 0.03), (0.01, 0.031), {"200": 1000})
SLOW = Round((0.01, 0.03), (0.01, 0.04), {"200": 1000})
MIRRORED = {"agreed": 50, "dropped": 2}


def test_the_median_round_decides() -> None:
    """One slow round of three is noise, two are not."""
    assert verdict(Result(100.0, [GOOD, SLOW, GOOD], MIRRORED)) == []
    assert verdict(Result(100.0, [SLOW, SLOW, GOOD], MIRRORED)) == ["p99 is 1.33 times what it is without"]


def test_failures_and_missing_shadows_are_seen() -> None:
    """A quick p99 proves nothing where requests failed, or where nothing was mirrored."""
    failing = Round(GOOD.without, GOOD.beside, {"200": 990, "503": 10})
    assert verdict(Result(100.0, [failing], MIRRORED)) == ["10 requests failed"]
    assert verdict(Result(100.0, [GOOD], {"dropped": 50})) == ["no mirrored request was compared"]
