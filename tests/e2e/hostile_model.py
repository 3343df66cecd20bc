"""A model whose every text tries to become markup: its answers, its card, and one version that cannot load."""

from __future__ import annotations

from pathlib import Path

NAME = "hostile"
ATTACK = "<img src=x onerror=alert(1)><script>alert(2)</script>"
SOURCE = f"""
import numpy as np


class Model:
    def __init__(self, folder, parameters):
        pass

    def predict(self, inputs):
        rows = len(inputs["prompt"])
        label = np.array([{ATTACK!r}.encode()] * rows, object)
        return {{"class_id": np.zeros(rows, np.int32), "confidence": np.ones(rows, np.float32), "label": label}}
"""
DESCRIPTION = """
runtime = "python"
inputs = [{name = "prompt", datatype = "BYTES", shape = [-1]}]
outputs = [
  {name = "class_id", datatype = "INT32", shape = [-1]},
  {name = "confidence", datatype = "FP32", shape = [-1]},
  {name = "label", datatype = "BYTES", shape = [-1]},
]
"""


def add_hostile(repository: Path) -> None:
    """Add the model to a repository."""
    version = repository / NAME / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(SOURCE)
    (version.parent / "model.toml").write_text(DESCRIPTION)
    (version.parent / "README.md").write_text(f"# {ATTACK}\n\n{ATTACK} [a](javascript:alert(3))\n")
