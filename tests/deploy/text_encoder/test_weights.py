"""Weights in the safetensors format."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from deploy.text_encoder.weights import read
from inference_core.errors import ConfigurationError

PAIR = {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}


def file_of(header: dict[str, Any], numbers: bytes) -> bytes:
    """Return the bytes of such a file."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def test_tensors_are_read_by_name() -> None:
    """Each with its datatype and shape; the writer's remarks are none."""
    count = {"dtype": "I64", "shape": [1], "data_offsets": [8, 16]}
    numbers = np.array([1.5, -2], "<f4").tobytes() + np.array([7], "<i8").tobytes()
    tensors = read(file_of({"__metadata__": {"format": "pt"}, "pair": PAIR, "count": count}, numbers))
    assert {name: (array.dtype.name, array.tolist()) for name, array in tensors.items()} == {
        "pair": ("float32", [[1.5], [-2.0]]),
        "count": ("int64", [7]),
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 64,
        file_of({"pair": PAIR}, b"1234"),
        file_of({"pair": {**PAIR, "dtype": "BF16"}}, b"12345678"),
        file_of({"pair": {"dtype": "F32"}}, b"12345678"),
        file_of({"pair": {**PAIR, "shape": [3]}}, b"12345678"),
    ],
)
def test_what_is_no_such_file_is_refused(content: bytes) -> None:
    """Nothing, noise, a cut file, an unknown datatype or a header without places ends in one sentence."""
    with pytest.raises(ConfigurationError, match="no safetensors file"):
        read(content)
