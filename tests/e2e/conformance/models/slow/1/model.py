# ruff: noqa: INP001  # a version folder is data, not a package
"""A row takes a fifth of a second."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS = 0.2


class Model:
    """Reflects what it gets, late."""

    def __init__(self, folder: Path, parameters: Mapping[str, object]) -> None:  # needs neither
        pass

    def predict(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return x, FP32 [rows, 1], for x FP32 [rows, 1]."""
        time.sleep(SECONDS)
        return {"x": inputs["x"]}
