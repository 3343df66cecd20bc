"""Holds a request's inputs against the signature that a model declares."""

from __future__ import annotations

from collections.abc import Sequence

from inference_core.errors import InvalidInput, WrongSignature
from inference_core.tensors import DATATYPES, Array, Arrays, datatype_of
from model_service.description import Tensor

NO_FIT = {None}


def check_inputs(model: str, declared: Sequence[Tensor], inputs: Arrays, most_rows: int | None = None) -> None:
    """Raise WrongSignature, naming the tensor, unless names, datatypes and shapes fit.

    InvalidInput where not all have the same rows, or more than `most_rows`.
    """
    rows = {_rows_where_fit(tensor, inputs.get(tensor.name)) for tensor in declared}
    if len(rows) != 1 or rows == NO_FIT or len(inputs) != len(declared):
        _explain(model, declared, inputs)
    elif most_rows is not None and len(next(iter(inputs.values()))) > most_rows:
        raise InvalidInput(f"Model {model} takes at most {most_rows} rows at once; send fewer.")


def _rows_where_fit(tensor: Tensor, array: Array | None) -> int | None:
    if array is None or DATATYPES.get(array.dtype) != tensor.datatype or not fits(tensor.shape, array.shape):
        return None
    rows: int = array.shape[0]
    return rows


def _explain(model: str, declared: Sequence[Tensor], inputs: Arrays) -> None:
    names = [tensor.name for tensor in declared]
    if inputs.keys() != set(names):
        raise WrongSignature(f"Model {model} takes {_listed(names)}, not {_listed(list(inputs)) or 'nothing'}.")
    for tensor in declared:
        _check(model, tensor, inputs[tensor.name])
    if len({array.shape[0] for array in inputs.values()}) > 1:
        raise InvalidInput(f"Model {model}: all inputs must have the same number of rows (first dimension).")


def _check(model: str, tensor: Tensor, array: Array) -> None:
    datatype = datatype_of(array)
    if datatype != tensor.datatype:
        raise WrongSignature(f"Model {model}: input {tensor.name} has datatype {tensor.datatype}, got {datatype}.")
    if not fits(tensor.shape, array.shape):
        raise WrongSignature(
            f"Model {model}: input {tensor.name} has shape {list(tensor.shape)} (-1: any size from 1), "
            f"got {_of_any_rows(array.shape)}."
        )


def _of_any_rows(shape: Sequence[int]) -> list[int]:
    # The rows are those of a whole batch, of which a client sees its own only.
    return [-1 if size else 0 for size in shape[:1]] + list(shape[1:])


def fits(declared: Sequence[int], actual: Sequence[int]) -> bool:
    """Tell whether a shape is one of those that a declared one stands for."""
    if len(declared) != len(actual):
        return False
    return not [size for want, size in zip(declared, actual, strict=True) if size < 1 or want not in (-1, size)]


def _listed(names: list[str]) -> str:
    # Names of a request are the client's: quoted, few and short, so that the sentence stays one.
    return ", ".join(repr(name[:64]) for name in names[:8])
