"""The model of the goodput runs has the capacity that its description says."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest

from deploy.goodput.bench import MODELS

FILE = MODELS / "sleep" / "1" / "model.py"


@pytest.mark.parametrize(("rows", "batches"), [(1, 1), (8, 1), (9, 2), (16, 2)])
def test_each_begun_batch_takes_its_time(rows: int, batches: int) -> None:
    """Rows cost by started batches of eight, and no processor time to speak of."""
    specification = importlib.util.spec_from_file_location("sleep_model", FILE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    model = module.Model(Path(), {"latency": 0.02, "rows": 8})
    began = time.perf_counter()
    answer = model.predict({"features": np.ones((rows, 2), np.float32)})
    took = time.perf_counter() - began
    assert 0.02 * batches <= took < 0.02 * batches + 0.5
    assert answer["class_id"].shape == (rows,)
