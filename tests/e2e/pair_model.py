"""A model with three versions: two that answer with their own number, and one that only raises."""

from __future__ import annotations

from pathlib import Path

SOURCE = """
import numpy as np


class Model:
    def __init__(self, folder, parameters):
        self.version = int(str(folder).rstrip("/").rsplit("/", 1)[1])

    def predict(self, inputs):
        rows = inputs["features"]
        if self.version == 3 and (rows[:, 0] != 0).any():
            raise ValueError("this version is broken")
        return {"class_id": np.full(len(rows), self.version, np.int32), "confidence": np.ones(len(rows), np.float32)}
"""
DESCRIPTION = """
runtime = "python"
inputs = [{name = "features", datatype = "FP32", shape = [-1, 2]}]
outputs = [
  {name = "class_id", datatype = "INT32", shape = [-1]},
  {name = "confidence", datatype = "FP32", shape = [-1]},
]
"""
BODY = '{"features": [1.0, 2.0], "model_name": "pair"}'


def add_pair(repository: Path) -> None:
    """Add the model `pair` to a repository; its third version only takes rows that begin with 0, as in a warm-up."""
    for number in ("1", "2", "3"):
        version = repository / "pair" / number
        version.mkdir(parents=True)
        (version / "model.py").write_text(SOURCE)
    (repository / "pair" / "model.toml").write_text(DESCRIPTION)
