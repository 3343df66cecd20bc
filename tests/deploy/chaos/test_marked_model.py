"""The model that dies of one input."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from deploy.chaos.__main__ import MODELS
from deploy.chaos.traffic import MARK

PROGRAM = """
import importlib.util, sys
import numpy as np
found = importlib.util.spec_from_file_location("marked", sys.argv[1])
module = importlib.util.module_from_spec(found)
found.loader.exec_module(module)
model = module.Model(None, {"mark": float(sys.argv[2]), "way": sys.argv[3]})
print(model.predict({"features": np.float32([[1.0, 2.0]])})["class_id"].tolist(), flush=True)
model.predict({"features": np.float32([[1.0, 2.0], [1.0, float(sys.argv[2])]])})
"""


@pytest.mark.parametrize(("way", "status"), [("signal", -signal.SIGSEGV), ("exit", 139)])
def test_the_marked_row_kills_and_no_other(way: str, status: int) -> None:
    """A batch without the mark is answered; one that holds it ends the process as the description says."""
    file = MODELS / "marked" / "1" / "model.py"
    command = [sys.executable, "-c", PROGRAM, str(file), str(MARK), way]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "[0]\n"
    assert done.returncode == status
