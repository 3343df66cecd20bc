# ruff: noqa: INP001  # a version folder is data, not a package
"""A tiny network on numpy: it costs next to nothing, so that a benchmark of it measures the server around it.

It imports numpy only, because every server of the benchmark runs this very file in an environment of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEATURES, HIDDEN, CLASSES = 4, 16, 3


def weights(rows: int, columns: int) -> NDArray[np.float32]:
    """Return fixed weights between -1 and 1, FP32 [rows, columns], the same with every version of numpy."""
    table: NDArray[np.float32] = np.sin(np.arange(1, rows * columns + 1) * 7.0).astype(np.float32)
    return table.reshape(rows, columns)


class Model:
    """Two layers with tanh and softmax; nothing was learned."""

    def __init__(self, folder: Path, parameters: Mapping[str, object]) -> None:  # noqa: ARG002  # needs no file
        self._first, self._second = weights(FEATURES, HIDDEN), weights(HIDDEN, CLASSES)

    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return class_id INT32 and confidence FP32, each [rows], for features FP32 [rows, 4]."""
        scores = np.tanh(inputs["features"] @ self._first) @ self._second
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        return {"class_id": shares.argmax(axis=1).astype(np.int32), "confidence": shares.max(axis=1)}
