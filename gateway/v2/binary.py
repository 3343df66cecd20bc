"""The binary tensor data extension: tensors as raw bytes behind the JSON of a request or answer.

Nothing is copied: arrays of a request are views of its body, and an answer is a list of buffers. Source: Triton's
extension binary_tensor_data.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from gateway.v2.documents import RequestInput
from inference_core.errors import InvalidInput
from inference_core.tensors import Array, element_count, from_raw, object_array

HEADER = "Inference-Header-Content-Length"
SIZE = "binary_data_size"
LONGEST_NUMBER = 18


def header_length(text: str | None, body_bytes: int) -> int:
    """Return how many bytes of a body are JSON, from the header's value; raises InvalidInput."""
    if text is None:
        return body_bytes
    length = int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER else -1
    if not 0 <= length <= body_bytes:
        raise InvalidInput(f"{HEADER} counts the JSON bytes at the start of the body; this body has {body_bytes}.")
    return length


class BinaryPart:
    """The bytes behind the JSON, taken in the order of the inputs."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._taken = 0

    def array_of(self, tensor: RequestInput) -> Array:
        """Return the next tensor; raises InvalidInput where it has data too, or where its size cannot be."""
        size = tensor.parameters[SIZE]
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise InvalidInput(f"Tensor {tensor.name!r}: {SIZE} is a number of bytes.")
        if tensor.data is not UNSET:
            raise InvalidInput(f"Tensor {tensor.name!r} has data beside {SIZE}; send one of the two.")
        end = self._taken + size
        if end > len(self._data):
            raise InvalidInput(
                f"Tensor {tensor.name!r}: {SIZE} is {size}, but only {len(self._data) - self._taken} bytes are left "
                f"behind the JSON; is {HEADER} there and right?"
            )
        piece = self._data[self._taken : end]
        self._taken = end
        return from_raw(tensor.name, tensor.datatype, tensor.shape, piece)

    def finish(self) -> None:
        """Raise InvalidInput where bytes are left over."""
        left = len(self._data) - self._taken
        if left:
            raise InvalidInput(f"{left} bytes follow the last tensor; each binary input says its size in {SIZE}.")


def only_tensor(name: str, datatype: str, declared: Sequence[int], body: memoryview) -> Array:
    """Return the only input of a model from a body without any JSON, as one row.

    `declared` is the model's shape, -1 for any size. A BYTES body is one element, without a length before it.
    Raises InvalidInput for a model of which the shape must be told.
    """
    row = [1, *declared[1:]]
    if datatype == "BYTES":
        if row not in ([1], [1, 1], [1, -1]):
            raise InvalidInput(f"Input {name!r} takes more than one element; say in JSON where each begins.")
        return object_array([bytes(body)], [1] * len(row))
    dtype, fixed = element_count(name, datatype, [size for size in row if size != -1])
    if row.count(-1) > 1 or not fixed:
        raise InvalidInput(f"Input {name!r} has the shape {list(declared)}; say in JSON which one is sent.")
    elements = len(body) // dtype.itemsize
    return from_raw(name, datatype, [elements // fixed if size == -1 else size for size in row], body)
