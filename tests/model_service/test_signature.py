"""Requests that do not fit a model's signature are refused before they cost anything."""

from __future__ import annotations

import numpy as np
import pytest

from inference_core.errors import InvalidInput
from inference_core.tensors import Arrays
from model_service.description import Tensor
from model_service.signature import check_inputs

DECLARED = (Tensor("features", "FP32", (-1, 3)), Tensor("text", "BYTES", (-1,)))


def inputs(**changed: np.ndarray | None) -> Arrays:
    """Return two rows that fit, with some tensors changed or, with None, left out."""
    text = np.array([b"a", b"b"], object)
    arrays = {"features": np.zeros((2, 3), np.float32), "text": text} | changed
    return {name: array for name, array in arrays.items() if array is not None}


def refusal(arrays: Arrays) -> str:
    """Return why the arrays are refused."""
    with pytest.raises(InvalidInput) as caught:
        check_inputs("m", DECLARED, arrays)
    return caught.value.message


@pytest.mark.parametrize("rows", [1, 2, 1000])
def test_what_fits_is_accepted(rows: int) -> None:
    """Any number of rows from one passes, and the arrays stay as they were."""
    arrays = inputs(features=np.ones((rows, 3), np.float32), text=np.full(rows, b"a", object))
    check_inputs("m", DECLARED, arrays)
    assert arrays["features"].sum() == rows * 3


@pytest.mark.parametrize("changed", [{"text": None}, {"more": np.zeros(2)}, {"features": None, "text": None}])
def test_other_names_are_refused(changed: dict[str, np.ndarray | None]) -> None:
    """A missing or an unknown tensor is refused with the names that the model takes."""
    assert refusal(inputs(**changed)).startswith("Model m takes 'features', 'text', not ")


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.bool_])
def test_another_datatype_is_refused(dtype: type[np.generic]) -> None:
    """A tensor is never converted in silence; the refusal names it and both datatypes."""
    message = refusal(inputs(features=np.zeros((2, 3), dtype)))
    assert message.startswith("Model m: input features has datatype FP32, got ")


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((2,), [-1]),
        ((2, 4), [-1, 4]),
        ((2, 2), [-1, 2]),
        ((2, 3, 1), [-1, 3, 1]),
        ((0, 3), [0, 3]),
        ((), []),
        ((6,), [-1]),
    ],
)
def test_another_shape_is_refused(shape: tuple[int, ...], told: list[int]) -> None:
    """A tensor of other dimensions, or without rows, is refused with both shapes; how many rows came is not said."""
    message = refusal(inputs(features=np.zeros(shape, np.float32)))
    assert message == f"Model m: input features has shape [-1, 3] (-1: any size from 1), got {told}."


def test_unequal_rows_are_refused() -> None:
    """All inputs of a request have the same number of rows."""
    assert "same number of rows" in refusal(inputs(text=np.array([b"a"], object)))


def test_a_refusal_is_short_and_one_line() -> None:
    """Names that a client made up are quoted, few and short."""
    message = refusal({f"{number}\n" + "x" * 10_000: np.zeros(1) for number in range(1000)})
    assert len(message) < 1000
    assert message.isprintable()
