# ruff: noqa: INP001  # a version folder is data, not a package
"""A model that dies of one input and answers every other at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

STATUS_OF_A_SEGFAULT = 139


class Model:
    """Classifies each row as 0; a row with `mark` in it ends the process, as `way` says."""

    def __init__(self, folder: Path, parameters: Mapping[str, object]) -> None:  # noqa: ARG002  # needs no file
        self._mark = np.float32(parameters["mark"])  # type: ignore[arg-type]  # model.toml has a number
        self._exits = parameters["way"] == "exit"

    def predict(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.generic]]:
        """Return class_id INT32 and confidence FP32, each [rows], for features FP32 [rows, n]."""
        features = inputs["features"]
        if (features == self._mark).any():
            self._die()
        rows = len(features)
        return {"class_id": np.zeros(rows, np.int32), "confidence": np.ones(rows, np.float32)}

    def _die(self) -> None:
        if self._exits:
            os._exit(STATUS_OF_A_SEGFAULT)
        os.kill(os.getpid(), signal.SIGSEGV)
