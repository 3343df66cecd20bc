"""The capacity is found from what is borne and what is not."""

from __future__ import annotations

import pytest

from deploy.goodput.capacity import HIGHEST_RATE, capacity


@pytest.mark.parametrize("true", [3.0, 49.0, 110.0, 797.0, 5000.0])
def test_the_capacity_is_found_from_below(true: float) -> None:
    """What is found is borne, and within a few percent of the truth."""
    asked = []

    def bears(rate: float) -> bool:
        asked.append(rate)
        return rate <= true

    found = capacity(bears)
    assert found <= true
    assert found > 0.93 * true
    assert len(asked) < 25


def test_a_system_that_bears_nothing_has_no_capacity() -> None:
    """The search ends, with 0."""
    assert capacity(lambda _: False) == 0


def test_the_search_ends_where_the_generator_does() -> None:
    """A system that bears everything ends the search too."""
    assert capacity(lambda _: True) >= HIGHEST_RATE / 1.5
