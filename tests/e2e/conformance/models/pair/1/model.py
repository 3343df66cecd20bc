# ruff: noqa: INP001  # a version folder is data, not a package
"""Two inputs and their sum."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Model:
    """Adds."""

    def __init__(self, folder: Path, parameters: Mapping[str, object]) -> None:  # needs neither
        pass

    def predict(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return sum, FP32 [rows, 2], for left FP32 [rows, 2] and right INT32 [rows, 2]."""
        return {"sum": (inputs["left"] + inputs["right"]).astype(np.float32)}
