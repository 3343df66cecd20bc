"""Models for gray failures: on slot 0 one is slow and one stops the interpreter, on the others both are well."""

from __future__ import annotations

from pathlib import Path

SOURCE = """
import ctypes
import sys
import time
import numpy as np

SLOT = int(sys.argv[-1])


def frozen(rows):
    if SLOT == 0:
        # sleep(3) of the C library through a door that does not let go of the interpreter's lock.
        ctypes.PyDLL(None).sleep(int(rows.max()))


def uneven(rows):
    time.sleep(0.1 if SLOT == 0 else 0.005)


class Model:
    def __init__(self, folder, parameters):
        pass

    def predict(self, inputs):
        rows = inputs["features"]
        NAME(rows)
        return {"class_id": np.full(len(rows), SLOT, np.int32), "confidence": np.ones(len(rows), np.float32)}
"""
DESCRIPTION = """
runtime = "python"
inputs = [{name = "features", datatype = "FP32", shape = [-1, -1]}]
outputs = [
  {name = "class_id", datatype = "INT32", shape = [-1]},
  {name = "confidence", datatype = "FP32", shape = [-1]},
]
"""
NAMES = ("frozen", "uneven")


def add_gray(repository: Path) -> None:
    """Add both models to a repository; each answers with the slot that computed it."""
    for name in NAMES:
        version = repository / name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(SOURCE.replace("NAME", name))
        (version.parent / "model.toml").write_text(DESCRIPTION)
