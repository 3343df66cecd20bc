"""Rows of several requests as one batch and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import InvalidInput, ModelFailed
from inference_core.stacking import bytes_of, rows_of, signature_of, split, stack
from inference_core.tensors import DTYPES, Array, Arrays
from tests.inference_core.strategies import arrays, same

ROWS = st.lists(st.integers(1, 5), min_size=1, max_size=8)


@given(ROWS, st.sampled_from(sorted(DTYPES)), st.data())
def test_what_is_stacked_and_split_is_what_it_was(rows: list[int], datatype: str, data: st.DataObject) -> None:
    """Every row comes back to the request it came from, bit for bit, in every datatype."""
    one = data.draw(arrays(datatype).filter(lambda array: array.ndim > 0 and array.shape[0] > 0))
    requests: list[Arrays] = [
        {"a": np.roll(np.resize(one, (count, *one.shape[1:])), number), "b": np.full((count, 2), number)}
        for number, count in enumerate(rows)
    ]
    for request, share in zip(requests, split(stack(requests), rows), strict=True):
        assert same(request["a"], share["a"])
        assert same(request["b"], share["b"])


def test_no_row_goes_to_a_neighbour_with_none() -> None:
    """As many rows as requests does not mean one row each."""
    shares = split({"y": np.array([1, 2])}, [2, 0])
    assert [share["y"].tolist() for share in shares] == [[1, 2], []]


@pytest.mark.parametrize("output", [np.zeros(3), np.zeros(()), np.zeros((0, 2))])
def test_an_output_with_other_rows_is_the_models_failure(output: Array) -> None:
    """What cannot be shared out row by row is refused, also when only one request is in the batch."""
    for rows in ([2], [1, 1], [2, 1, 1]):
        with pytest.raises(ModelFailed, match="output y of shape"):
            split({"x": np.zeros(sum(rows)), "y": output}, rows)


def test_a_signature_is_names_types_and_the_shape_of_a_row() -> None:
    """Order and number of rows do not matter; a name, a dtype or an inner shape does."""
    inputs: Arrays = {"b": np.zeros((2, 3), np.float32), "a": np.zeros(2, np.int64)}
    alike: Arrays = {"a": np.ones(7, np.int64), "b": np.ones((7, 3), np.float32)}
    assert signature_of(inputs) == signature_of(alike)
    others: list[Arrays] = [
        {"a": inputs["a"]},
        {**inputs, "c": inputs["a"]},
        {**inputs, "a": inputs["a"].astype(np.int32)},
        {**inputs, "a": inputs["a"][:, None]},
        {**inputs, "b": np.zeros((2, 4), np.float32)},
    ]
    assert signature_of(inputs) not in [signature_of(other) for other in others]


def test_all_inputs_must_have_the_same_rows() -> None:
    """Inputs that disagree, have no rows or no dimension are refused before they can shift a neighbour's rows."""
    assert rows_of({"a": np.zeros((3, 0)), "b": np.zeros(3)}) == 3
    assert rows_of({}) == 1
    irregular: list[Arrays] = [
        {"a": np.zeros(2), "b": np.zeros(1)},
        {"a": np.zeros(())},
        {"a": np.zeros((0, 4))},
        {"a": np.zeros(1), "b": np.zeros(())},
    ]
    for inputs in irregular:
        with pytest.raises(InvalidInput, match="same number of rows"):
            rows_of(inputs)


def test_strings_count_with_their_bytes() -> None:
    """A limit on bytes holds for texts too, not for their pointers alone."""
    texts = np.array([b"x" * 1000, b""], object)
    assert bytes_of({"t": texts, "n": np.zeros(4, np.float32)}) == 1000 + texts.nbytes + 16
