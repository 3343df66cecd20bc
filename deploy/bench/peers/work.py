"""The shared work: what every server computes, loaded the same way in every environment.

It needs numpy and ONNX Runtime only; `deploy/bench/models` has the two models.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

MODELS = Path(__file__).resolve().parents[1] / "models"
FEATURES = {"tiny": 4, "forest": 16}
VARIABLE = "BENCH_WORK"  # the name of the work, for servers that take no arguments

Predict = Callable[[NDArray[np.float32]], tuple[NDArray[np.int32], NDArray[np.float32]]]


def load(name: str) -> Predict:
    """Return the function of that work: features FP32 [rows, n] to class_id INT32 [rows] and confidence FP32 [rows]."""
    return {"tiny": _tiny, "forest": _forest}[name](MODELS / name / "1")


def _tiny(folder: Path) -> Predict:
    specification = importlib.util.spec_from_file_location("tiny_model", folder / "model.py")
    if specification is None or specification.loader is None:
        raise ImportError(f"{folder / 'model.py'} cannot be imported.")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    model: Any = module.Model(folder, {})

    def predict(features: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        outputs = model.predict({"features": features})
        return outputs["class_id"], outputs["confidence"]

    return predict


def _forest(folder: Path) -> Predict:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])

    def predict(features: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        class_id, confidence = session.run(["class_id", "confidence"], {"features": features})
        return class_id, confidence

    return predict


def rows(name: str, count: int) -> NDArray[np.float32]:
    """Return that many fixed rows of features, FP32 [count, n], each different, so that no cache can answer."""
    drawn = np.sin(np.arange(1, count * FEATURES[name] + 1) * 12.9898) * 2
    table: NDArray[np.float32] = drawn.round(3).astype(np.float32).reshape(count, FEATURES[name])
    return table
