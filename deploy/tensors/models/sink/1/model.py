# ruff: noqa: INP001  # a version folder is data, not a package
"""The first number of each row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Model:
    """Looks at one number."""

    def __init__(self, folder: Path, parameters: Mapping[str, object]) -> None:  # needs neither
        pass

    def predict(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return first, FP32 [rows], for x FP32 [rows, n]."""
        return {"first": inputs["x"][:, 0]}
