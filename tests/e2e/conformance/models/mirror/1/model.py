# ruff: noqa: INP001  # a version folder is data, not a package
"""Numbers, and twice those numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class Model:
    """Reflects what it gets."""

    def __init__(self, folder: Path, parameters: Mapping[str, object]) -> None:  # needs neither
        pass

    def predict(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Return x and twice, FP32 [rows, n], for x FP32 [rows, n]."""
        return {"x": inputs["x"], "twice": inputs["x"] * 2}
