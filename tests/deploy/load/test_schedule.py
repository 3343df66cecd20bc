"""A plan's schedule is a matter of its seed alone."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.load.plan import Kind, Plan, Stage, rendered
from deploy.load.schedule import schedule

KINDS = (Kind("often", weight=3), Kind("seldom", weight=1))
STAGES = (Stage(200, 5), Stage(2000, 2), Stage(200, 5))


def plan(seed: int = 7, arrivals: str = "poisson") -> Plan:
    """Return a plan with three stages and two kinds."""
    return Plan("127.0.0.1", 3000, KINDS, STAGES, seed=seed, arrivals=arrivals)  # type: ignore[arg-type]  # a literal


def test_the_same_seed_gives_the_same_requests() -> None:
    """A run can be repeated from the seed that it printed; another seed gives another run."""
    first, again, other = schedule(plan()), schedule(plan()), schedule(plan(seed=8))
    assert (first.due == again.due).all()
    assert (first.kind == again.kind).all()
    assert len(first.due) != len(other.due) or (first.due != other.due).any()


def test_each_stage_has_its_rate() -> None:
    """The number of arrivals in a stage is Poisson's: within five standard deviations of its mean."""
    due = schedule(plan()).due
    assert (np.diff(due) >= 0).all()
    for first, last, mean in ((0, 5, 1000), (5, 7, 4000), (7, 12, 1000)):
        assert abs(np.sum((due >= first) & (due < last)) - mean) < 5 * mean**0.5
    gaps = np.diff(due[due < 5])
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.2)


def test_fixed_arrivals_are_even() -> None:
    """Without chance every gap in a stage is the same."""
    due = schedule(plan(arrivals="fixed")).due
    assert len(due) == 6000
    assert np.diff(due[due < 5]) == pytest.approx(1 / 200)


def test_kinds_come_by_weight() -> None:
    """A kind with weight 3 beside one with 1 is three quarters of the traffic."""
    assert np.mean(schedule(plan()).kind == 0) == pytest.approx(0.75, abs=0.03)


def test_a_body_makes_a_post_and_a_header_may_replace_ours() -> None:
    """What goes over the wire is what the kind says."""
    kind = Kind("a", body='{"prompt": "ä"}', headers={"X-Request-Timeout": "0.25"})
    head, _, body = rendered(plan(), kind).partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /predict HTTP/1.1",
        b"Host: 127.0.0.1:3000",
        b"Content-Length: 16",
        b"Content-Type: application/json",
        b"X-Request-Timeout: 0.25",
    ]
    assert body.decode() == '{"prompt": "ä"}'
    assert rendered(plan(), Kind("b", path="/health")).startswith(b"GET /health HTTP/1.1\r\n")
