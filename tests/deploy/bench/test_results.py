"""Medians and ratios over the rounds."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.bench.results import Cell, figures, interval, ratio
from tests.deploy.bench.samples import cell, run


def rate(some: Cell) -> float:
    """Return the figure that these tests compare."""
    return some.requests_per_second


def test_the_median_round_counts() -> None:
    """One round that was disturbed does not move the figure, but the spread tells of it."""
    middle = figures([cell("ours", number, 1, value) for number, value in enumerate((100.0, 10.0, 110.0))])
    assert middle.requests_per_second == 100
    assert middle.spread == 1.0


def test_errors_are_summed() -> None:
    """An error in any round is seen."""
    bad = Cell("tiny", "ours", 1, 1, 10.0, 1.0, 1.0, 1.0, errors=3)
    assert figures([bad, cell("ours", 2, 1, 10.0)]).errors == 3


def test_ratios_pair_the_same_round() -> None:
    """When the machine is twice as fast in one round, the ratio does not notice."""
    ours = [cell("ours", 1, 1, 100.0), cell("ours", 2, 1, 200.0)]
    theirs = [cell("x", 1, 1, 50.0), cell("x", 2, 1, 100.0)]
    assert ratio(ours, theirs, rate, max) == 2


def test_the_best_of_several_counts() -> None:
    """Of a peer's configurations the best one of that round is the measure."""
    theirs = [cell("x", 1, 1, 50.0), cell("y", 1, 1, 200.0)]
    assert ratio([cell("ours", 1, 1, 100.0)], theirs, rate, max) == 0.5


def test_without_a_common_round_there_is_no_ratio() -> None:
    """Nothing is made up where the rounds do not meet or a peer served nothing."""
    assert math.isnan(ratio([cell("ours", 1, 1, 1.0)], [cell("x", 2, 1, 1.0)], rate, max))
    assert math.isnan(ratio([cell("ours", 1, 1, 1.0)], [cell("x", 1, 1, 0.0)], rate, max))


def test_a_run_selects_by_server_and_connections() -> None:
    """Tables find each cell once."""
    sample = run(cell("ours", 1, 1, 1.0), cell("ours", 1, 32, 2.0), cell("triton-1", 1, 1, 3.0))
    assert sample.contenders("tiny") == ["ours", "triton-1"]
    assert sample.connections() == [1, 32]
    assert [some.requests_per_second for some in sample.select("tiny", "ours", 32)] == [2.0]


@pytest.mark.parametrize("count", [6, 20, 60])
def test_the_median_lies_where_it_is_said_to(count: int) -> None:
    """Of many samples of a skewed distribution 95 in 100 have its median within their interval, or a few more."""
    source = random.Random(7)  # noqa: S311  # samples, no secrets
    true = math.log(2)  # the median of an exponential distribution
    hits = 0
    for _ in range(1000):
        found = interval([source.expovariate(1) for _ in range(count)])
        hits += found is not None and found[0] <= true <= found[1]
    assert 935 <= hits <= 985


@given(st.lists(st.floats(0, 1e6)))
def test_an_interval_is_around_the_median(values: list[float]) -> None:
    """The sample's own median is not outside; of fewer than six values nothing is said."""
    found = interval(values)
    assert (found is None) == (len(values) < 6)
    assert found is None or found[0] <= statistics.median(values) <= found[1]
