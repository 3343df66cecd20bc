"""Outputs as their largest values."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from inference_core.errors import InvalidInput
from inference_core.selection import MOST_CLASSES, MOST_TEXTS, top_classes
from inference_core.tensors import Array

few = st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0, float("inf"), float("-inf"), float("nan")])
SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=6)
outputs = st.one_of(
    arrays(np.float32, SHAPES, elements=few),
    arrays(np.int64, SHAPES, elements=st.sampled_from([-(2**63), 0, 2**63 - 1])),
)


@given(outputs, st.integers(1, 8))
def test_the_largest_values_come_first_and_of_equal_ones_the_first(array: Array, count: int) -> None:
    """The answer is the beginning of each row, sorted; NaN is the largest, and the count may be beyond the row."""

    def rank(index: int, row: list[float]) -> tuple[bool, float, int]:
        is_number = row[index] == row[index]
        return is_number, -row[index] if is_number else 0, index

    found = [[int(text.split(b":")[1]) for text in row] for row in top_classes("y", array, count).tolist()]
    assert found == [
        sorted(range(len(row)), key=lambda index, row=row: rank(index, row))[:count]  # type: ignore[misc]
        for row in array.tolist()
    ]


@pytest.mark.parametrize("shape", [(1, MOST_TEXTS + 1), (MOST_TEXTS // 2 + 1, 2)])
def test_more_values_than_an_answer_holds_are_refused(shape: tuple[int, int]) -> None:
    """A huge count on a large output is refused before anything is sorted; the sentence says what to do."""
    with pytest.raises(InvalidInput, match="at most 65536 values; ask for fewer classes or rows"):
        top_classes("y", np.zeros(shape, np.float32), MOST_CLASSES)


def test_a_few_of_many_are_found_without_a_sort_of_all() -> None:
    """Only the values that are kept are sorted."""
    array = np.arange(100_000, dtype=np.float32).reshape(1, -1)
    with patch("inference_core.selection.np.argsort", wraps=np.argsort) as sort:
        assert top_classes("y", array, 2).tolist() == [[b"99999.000000:99999", b"99998.000000:99998"]]
    assert [call.args[0].shape for call in sort.call_args_list] == [(1, 2)]
