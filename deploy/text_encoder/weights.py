"""Weights as the safetensors format keeps them: the size of a JSON header, that header, and the numbers."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from inference_core.errors import ConfigurationError
from inference_core.tensors import Array

SIZE = struct.Struct("<Q")
DTYPES: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}


class Place(msgspec.Struct):
    """Where a tensor lies behind the header, and what it is."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def read(content: bytes) -> dict[str, Array]:
    """Return the tensors by name, without copies; raises ConfigurationError for content that is no such file."""
    try:
        (size,) = SIZE.unpack_from(content)
        header: dict[str, Any] = msgspec.json.decode(content[SIZE.size : SIZE.size + size])
        header.pop("__metadata__", None)
        places = msgspec.convert(header, dict[str, Place])
        return _tensors(memoryview(content)[SIZE.size + size :], places)
    except (struct.error, msgspec.MsgspecError, KeyError, ValueError) as error:
        raise ConfigurationError(f"The weights are no safetensors file that can be read here: {error!r}.") from error


def _tensors(numbers: memoryview, places: Mapping[str, Place]) -> dict[str, Array]:
    return {
        name: np.frombuffer(numbers[slice(*place.data_offsets)], DTYPES[place.dtype]).reshape(place.shape)
        for name, place in places.items()
    }
