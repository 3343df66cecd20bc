"""The promises against the peers."""

from __future__ import annotations

from deploy.bench.floors import verdicts
from tests.deploy.bench.samples import cell, run


def test_a_promise_needs_both_sides() -> None:
    """A run without the peer judges nothing."""
    assert list(verdicts(run(cell("ours", 1, 128, 1.0)))) == []


def test_a_promise_that_holds_and_one_that_does_not() -> None:
    """1.5 times FastAPI keeps the promise of 1.4, 0.9 times Triton breaks that of 1.0."""
    sample = run(cell("ours", 1, 128, 90.0), cell("fastapi-2", 1, 128, 60.0), cell("triton-1", 1, 128, 100.0))
    judged = {("FastAPI" in verdict.sentence): verdict for verdict in verdicts(sample)}
    assert judged[True].holds
    assert not judged[False].holds
    assert judged[False].sentence.endswith("0.90")


def test_latency_is_better_when_lower() -> None:
    """At one connection p50 may be 2.5 times Triton's and no more."""
    theirs = cell("triton-1", 1, 1, 1.0, p50=1.0)
    assert next(verdicts(run(cell("ours", 1, 1, 1.0, p50=2.4), theirs))).holds
    assert not next(verdicts(run(cell("ours", 1, 1, 1.0, p50=2.6), theirs))).holds


def test_cpu_per_request_has_to_fall() -> None:
    """A cost that rises again with more connections is told."""
    costs = {1: 0.5, 32: 0.1, 128: 0.2}
    (verdict,) = verdicts(run(*(cell("ours", 1, n, 1.0, cpu=cost) for n, cost in costs.items())))
    assert not verdict.holds
    assert "0.500, 0.100, 0.200" in verdict.sentence
