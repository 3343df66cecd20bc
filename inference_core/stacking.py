"""Rows of several requests as one batch, and one batch's outputs as rows of several requests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference_core.errors import InvalidInput, ModelFailed
from inference_core.tensors import Array, Arrays

Signature = tuple[tuple[str, str, tuple[int, ...]], ...]


def signature_of(inputs: Arrays) -> Signature:
    """Return what inputs must have in common to share a batch: names, dtypes and the shapes of one row."""
    if len(inputs) == 1:
        ((name, array),) = inputs.items()
        return ((name, array.dtype.str, array.shape[1:]),)
    return tuple([(name, inputs[name].dtype.str, inputs[name].shape[1:]) for name in sorted(inputs)])


def rows_of(inputs: Arrays) -> int:
    """Return how many rows all inputs have, 1 where there are no inputs.

    Raises InvalidInput unless each has a first dimension and all have the same number of rows, at least one.
    """
    common = 0
    for array in inputs.values():
        rows = array.shape[0] if array.ndim else 0
        if not rows or rows != (common or rows):
            raise InvalidInput("All inputs must have the same number of rows (first dimension), at least one.")
        common = rows
    return common or 1


def bytes_of(inputs: Arrays) -> int:
    """Return how many bytes the inputs hold, for object arrays those of their elements too."""
    size = 0
    for array in inputs.values():
        size += array.nbytes
        if array.dtype.hasobject:
            size += sum(map(len, array.flat))
    return size


def stack(requests: Sequence[Arrays]) -> Arrays:
    """Return the rows of all requests below each other, for each input; they must agree in `signature_of`."""
    if len(requests) == 1:
        return requests[0]
    return {name: np.concatenate([inputs[name] for inputs in requests]) for name in requests[0]}


def split(outputs: Arrays, rows: Sequence[int]) -> list[Arrays]:
    """Return each request's share of a batch's outputs, by its number of rows, as views.

    Raises ModelFailed where an output does not have one row for each row that went in.
    """
    total = sum(rows)
    for name, array in outputs.items():
        if array.ndim == 0 or array.shape[0] != total:
            raise ModelFailed(f"The model answered {total} rows with an output {name} of shape {list(array.shape)}.")
    if len(rows) == 1:
        return [outputs]
    if total == len(rows) and min(rows) == 1:
        return [{name: array[row : row + 1] for name, array in outputs.items()} for row in range(total)]
    return _shares(outputs, rows)


def _shares(outputs: dict[str, Array], rows: Sequence[int]) -> list[Arrays]:
    shares, start = [], 0
    for count in rows:
        shares.append({name: array[start : start + count] for name, array in outputs.items()})
        start += count
    return shares
