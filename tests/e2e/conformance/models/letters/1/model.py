# ruff: noqa: INP001  # a version folder is data, not a package
"""Bytes as they came."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Model:
    """Reflects what it gets."""

    def __init__(self, folder: Path, parameters: Mapping[str, object]) -> None:  # needs neither
        pass

    def predict(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return text, BYTES [rows], for text BYTES [rows]."""
        return {"text": inputs["text"]}
