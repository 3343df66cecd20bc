"""Tables for people."""

from __future__ import annotations

import math

from deploy.table import milliseconds, table


def test_columns_are_aligned() -> None:
    """Every line of a table is as long as the others."""
    assert table(("a", "long head"), [("value", "b")]) == (
        "| a     | long head |\n| ----- | --------- |\n| value | b         |\n"
    )


def test_times_have_as_many_digits_as_they_are_worth() -> None:
    """A tenth of a millisecond below a second, none above, and a dash for what was not measured."""
    assert [milliseconds(value) for value in (0.00123, 1.5, math.nan)] == ["1.2", "1500", "-"]
