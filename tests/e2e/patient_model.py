"""A model that takes as long as a row says, and notes which rows it began to compute."""

from __future__ import annotations

import json
from pathlib import Path

SOURCE = '''
import time
import numpy as np

class Model:
    """Each row is (seconds to take, own number); the longest row decides."""

    def __init__(self, folder, parameters):
        self.log = parameters["log"]

    def predict(self, inputs):
        rows = inputs["features"]
        with open(self.log, "a") as log:
            log.write("".join(f"{int(row[1])}\\\\n" for row in rows))
        time.sleep(max(float(row[0]) for row in rows))
        return {"class_id": rows[:, 1].astype(np.int32), "confidence": np.ones(len(rows), np.float32)}
'''
DESCRIPTION = """
runtime = "python"
parameters = {{log = {log}}}
inputs = [{{name = "features", datatype = "FP32", shape = [-1, 2]}}]
outputs = [
  {{name = "class_id", datatype = "INT32", shape = [-1]}},
  {{name = "confidence", datatype = "FP32", shape = [-1]}},
]
"""
WARMING_UP = 0
"""The number of a row that nobody asked for."""


def add_patient(repository: Path, log: Path) -> None:
    """Add the model `patient` to a repository; it notes the rows that it computes in that file."""
    version = repository / "patient" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(SOURCE.replace("\\\\", "\\"))
    (version.parent / "model.toml").write_text(DESCRIPTION.format(log=json.dumps(str(log))))
