# ruff: noqa: INP001  # a version folder is data, not a package
"""A model whose capacity is known: `max_batch_size` / `latency` rows per second for each compute thread."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class Model:
    """Sleeps `latency` seconds for each batch, then classifies each row as 0."""

    def __init__(self, folder: Path, parameters: Mapping[str, float]) -> None:  # noqa: ARG002  # needs no file
        self._latency = parameters["latency"]

    def predict(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.generic]]:
        """Return class_id INT32 and confidence FP32, each [rows], for features FP32 [rows, n]."""
        rows = len(inputs["features"])
        time.sleep(self._latency)
        return {"class_id": np.zeros(rows, np.int32), "confidence": np.ones(rows, np.float32)}
