"""Deadlines count down and never below zero."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.deadline import Deadline
from inference_core.errors import DeadlineExceeded


@given(st.floats(min_value=0, max_value=1e9))
def test_what_remains_is_at_most_what_was_given(seconds: float) -> None:
    """A deadline after some seconds leaves no more than those, and it is not over before."""
    before = time.monotonic()
    deadline = Deadline.after(seconds)
    assert before + seconds <= deadline.at
    assert 0 <= deadline.remaining() <= deadline.at - before


@given(st.floats(max_value=0, allow_infinity=True, allow_nan=False))
def test_a_passed_deadline_refuses(seconds: float) -> None:
    """A deadline of now or earlier has nothing left and raises DeadlineExceeded."""
    deadline = Deadline.after(seconds)
    assert deadline.remaining() == 0
    with pytest.raises(DeadlineExceeded, match="before the model was run"):
        deadline.check()


def test_a_deadline_ahead_lets_pass() -> None:
    """A deadline that lies ahead raises nothing and has time left."""
    deadline = Deadline.after(3600)
    deadline.check()
    assert deadline.remaining() > 0
