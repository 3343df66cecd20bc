"""What a request may name is counted before anything is made of it."""

from __future__ import annotations

import pytest

from inference_core.bounds import (
    LONGEST_NAME,
    MOST_PARAMETERS,
    MOST_TENSORS,
    check_name,
    check_parameters,
    check_tensors,
)
from inference_core.errors import InvalidInput


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 0), (0, 1)])
def test_tensors_are_counted(inputs: int, outputs: int) -> None:
    """As many inputs and outputs as are allowed pass, one more of either is refused with the number."""
    check_tensors(range(MOST_TENSORS), range(MOST_TENSORS))
    with pytest.raises(InvalidInput, match=f"at most {MOST_TENSORS} input tensors, and as many outputs"):
        check_tensors(range(MOST_TENSORS + inputs), range(MOST_TENSORS + outputs))


def test_names_have_a_length() -> None:
    """A tensor has a name, and one that fits into a sentence."""
    check_name("x" * LONGEST_NAME)
    for name in ("", "x" * (LONGEST_NAME + 1)):
        with pytest.raises(InvalidInput, match=f"1 to {LONGEST_NAME} characters"):
            check_name(name)


def test_parameters_are_counted_together() -> None:
    """It is the sum over a request and its tensors that is bounded."""
    half = dict.fromkeys(range(MOST_PARAMETERS // 2))
    check_parameters([half, half, {}])
    with pytest.raises(InvalidInput, match=f"at most {MOST_PARAMETERS} parameters"):
        check_parameters([half, half, {"one": "more"}])
