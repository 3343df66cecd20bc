"""The model of the goodput runs has the capacity that its description says."""

from __future__ import annotations

import importlib.util
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

from deploy.goodput.bench import MODELS

FILE = MODELS / "sleep" / "1" / "model.py"


@pytest.mark.parametrize("rows", [1, 8])
def test_each_batch_takes_its_time(rows: int) -> None:
    """A batch takes as long whatever it holds, up to the eight rows that its description allows."""
    assert tomllib.loads((MODELS / "sleep" / "model.toml").read_text())["max_batch_size"] == 8
    specification = importlib.util.spec_from_file_location("sleep_model", FILE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    model = module.Model(Path(), {"latency": 0.02})
    began = time.perf_counter()
    answer = model.predict({"features": np.ones((rows, 2), np.float32)})
    took = time.perf_counter() - began
    assert 0.02 <= took < 0.52
    assert answer["class_id"].shape == (rows,)
