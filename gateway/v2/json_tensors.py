"""Tensors in JSON: numbers, booleans or strings, flat or nested like the shape, in row-major order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from gateway.v2.documents import RequestInput
from inference_core.errors import InvalidInput
from inference_core.tensors import Array, datatype_of, element_count, object_array

ELEMENTS: dict[str, Any] = {"BOOL": bool, "FP32": float, "FP64": float, "BYTES": str}
"""What JSON has for a datatype; for all others it is an integer."""

WORDS = {bool: "booleans", float: "numbers", str: "strings", int: "integers"}
FP16 = "FP16"
BINARY = "as binary data (parameter binary_data_size, header Inference-Header-Content-Length)"
SHORT_ELEMENTS = 4096
"""So many FP32 numbers get their shortest form, at a microsecond each; more get one that is as exact, but longer."""

ASK_BINARY = "ask for it as binary data (parameter binary_data or binary_data_output)"


@lru_cache(maxsize=256)
def _decoder(element: type, depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = element
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def array_of(tensor: RequestInput) -> Array:
    """Return the array of an input whose values are in the JSON, of its datatype and shape.

    Raises InvalidInput, naming the tensor, for values of another kind, too large or too many; and for FP16.
    """
    name, shape = tensor.name, tensor.shape
    dtype, count = element_count(name, tensor.datatype, shape)
    if tensor.datatype == FP16:
        raise InvalidInput(f"Tensor {name!r}: JSON has no FP16 numbers; send the tensor {BINARY}.")
    values = _decoded(tensor)
    if len(values) != count:
        raise InvalidInput(f"Tensor {name!r}: shape {shape} needs {count} values in data, got {len(values)}.")
    if dtype.hasobject:
        return object_array([text.encode() for text in values], shape)
    return _typed(tensor, values, dtype).reshape(shape)


def _typed(tensor: RequestInput, values: Sequence[Any], dtype: np.dtype[Any]) -> Array:
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype)
    except OverflowError as error:
        raise InvalidInput(f"Tensor {tensor.name!r}: a value does not fit into {tensor.datatype}.") from error
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInput(f"Tensor {tensor.name!r}: a value does not fit into {tensor.datatype}.")
    return array


def _decoded(tensor: RequestInput) -> list[Any]:
    if tensor.data is UNSET:
        raise InvalidInput(f"Tensor {tensor.name!r} has no values: put them into data, or send them {BINARY}.")
    data, element = bytes(tensor.data), ELEMENTS.get(tensor.datatype, int)
    is_nested = data[1:].lstrip(b" \t\r\n").startswith(b"[")
    depth = len(tensor.shape) if is_nested and len(tensor.shape) > 1 else 1
    try:
        decoded: list[Any] = _decoder(element, depth).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"Tensor {tensor.name!r}: data of {tensor.datatype} is an array of {WORDS[element]}, flat or nested like "
            f"the shape {tensor.shape}."
        ) from error
    return _flat(tensor, decoded) if depth > 1 else decoded


def _flat(tensor: RequestInput, values: list[Any]) -> list[Any]:
    level = [values]
    for size in tensor.shape:
        if any(len(part) != size for part in level):
            raise InvalidInput(f"Tensor {tensor.name!r}: nested data must have the sizes of its shape {tensor.shape}.")
        level = list(chain.from_iterable(level))
    return level


def values_of(name: str, array: Array) -> list[Any]:
    """Return an output's values as JSON can tell them, flat.

    Raises InvalidInput where it cannot: FP16, numbers that are not finite, BYTES that are not UTF-8.
    """
    if array.dtype.hasobject:
        return [_text(name, element) for element in array.flat]
    if datatype_of(array) == FP16:
        raise InvalidInput(f"Output {name!r} is FP16, which JSON does not have; {ASK_BINARY}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInput(f"Output {name!r} has values that are not finite, which JSON cannot tell; {ASK_BINARY}.")
    flat = array.ravel()
    if array.dtype == np.float32 and array.size <= SHORT_ELEMENTS:
        # Through its shortest decimal form: 0.44 as FP32 is to stay 0.44, not to become 0.4399999976158142.
        return [float(str(value)) for value in flat]
    values: list[Any] = flat.tolist()
    return values


def _text(name: str, element: bytes) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"Output {name!r} has bytes that are not UTF-8; {ASK_BINARY}.") from error
