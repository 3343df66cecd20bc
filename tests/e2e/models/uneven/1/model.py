# ruff: noqa: INP001  # a version folder is data, not a package
"""Answers each row with the slot that computed it; slot 0 takes 100 ms, the others 5."""

from __future__ import annotations

import sys
import time

import numpy as np

SLOT = int(sys.argv[-1])


class Model:
    """See above."""

    def __init__(self, folder: object, parameters: object) -> None:
        pass

    def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Take the slot's time."""
        rows = len(inputs["features"])
        time.sleep(0.1 if SLOT == 0 else 0.005)
        return {"class_id": np.full(rows, SLOT, np.int32), "confidence": np.ones(rows, np.float32)}
