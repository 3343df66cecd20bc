"""Holds a request's inputs against the signature that a model declares."""

from __future__ import annotations

from collections.abc import Sequence

from inference_core.errors import InvalidInput
from inference_core.tensors import Array, Arrays, datatype_of
from model_service.repository import Tensor


def check_inputs(model: str, declared: Sequence[Tensor], inputs: Arrays) -> None:
    """Raise InvalidInput, naming the tensor, unless names, datatypes and shapes fit and all have the same rows."""
    names = [tensor.name for tensor in declared]
    if inputs.keys() != set(names):
        raise InvalidInput(f"Model {model} takes {_listed(names)}, not {_listed(list(inputs)) or 'nothing'}.")
    for tensor in declared:
        _check(model, tensor, inputs[tensor.name])
    if len({array.shape[0] for array in inputs.values()}) > 1:
        raise InvalidInput(f"Model {model}: all inputs must have the same number of rows (first dimension).")


def _check(model: str, tensor: Tensor, array: Array) -> None:
    datatype = datatype_of(array)
    if datatype != tensor.datatype:
        raise InvalidInput(f"Model {model}: input {tensor.name} has datatype {tensor.datatype}, got {datatype}.")
    if not _fits(tensor.shape, array.shape):
        raise InvalidInput(
            f"Model {model}: input {tensor.name} has shape {list(tensor.shape)} (-1: any size from 1), "
            f"got {list(array.shape)}."
        )


def _fits(declared: Sequence[int], actual: Sequence[int]) -> bool:
    if len(declared) != len(actual):
        return False
    return all(size >= 1 and want in (-1, size) for want, size in zip(declared, actual, strict=True))


def _listed(names: list[str]) -> str:
    # Names of a request are the client's: quoted, few and short, so that the sentence stays one.
    return ", ".join(repr(name[:64]) for name in names[:8])
