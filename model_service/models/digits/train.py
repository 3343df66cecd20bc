# ruff: noqa: INP001  # a script in a folder of data
"""Train the digits model on scikit-learn's 8x8 digits and write it as ONNX: a random forest (1), a small network (2).

The models, their split and their seed are fixed, so that the same versions of scikit-learn and skl2onnx write the
same files again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = 20240229
HELD_OUT_SHARE = 0.25
TREES = 40
ROWS_PER_LEAF = 2  # by cross-validation on the training rows, and it keeps the file below 1 MB
HIDDEN_UNITS = 64
WEIGHT_DECAY = 0.3  # by cross-validation on the training rows
MOST_ROUNDS = 500
OPSET = 17
LABELS = [str(digit) for digit in range(10)]

Split = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


def split() -> Split:
    """Return training pixels, held-out pixels (FP32 [rows, 64], 0..16), training digits, held-out digits."""
    pixels, digits = load_digits(return_X_y=True)
    parts = train_test_split(
        pixels.astype(np.float32), digits, test_size=HELD_OUT_SHARE, random_state=SEED, stratify=digits
    )
    return tuple(parts)


def forest() -> Any:
    """Return the estimator of version 1."""
    return RandomForestClassifier(TREES, min_samples_leaf=ROWS_PER_LEAF, random_state=SEED)


def network() -> Any:
    """Return the estimator of version 2: one hidden layer over standardized pixels."""
    layers = MLPClassifier((HIDDEN_UNITS,), alpha=WEIGHT_DECAY, max_iter=MOST_ROUNDS, random_state=SEED)
    return make_pipeline(StandardScaler(), layers)


VERSIONS: dict[str, tuple[Callable[[], Any], dict[str, float]]] = {
    "1": (forest, {"trees": TREES, "rows_per_leaf": ROWS_PER_LEAF}),
    "2": (network, {"hidden_units": HIDDEN_UNITS, "weight_decay": WEIGHT_DECAY}),
}


def to_graph(estimator: Any) -> onnx.ModelProto:
    """Return a fitted estimator as a graph from `features` to `probabilities`, `class_id`, `confidence` and `label`."""
    model: onnx.ModelProto = to_onnx(
        estimator,
        initial_types=[("features", FloatTensorType([None, 64]))],
        options={"zipmap": False},
        target_opset=OPSET,
    )
    graph = model.graph
    graph.name = "digits"
    # The estimators call their own integer answer "label"; ours is text.
    for node in graph.node:
        node.output[:] = ["winner" if name == "label" else name for name in node.output]
    graph.initializer.append(numpy_helper.from_array(np.array(LABELS, object), "labels"))
    graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
    graph.node.extend(_answers())
    del graph.output[:]
    graph.output.extend(_outputs())
    onnx.checker.check_model(model, full_check=True)
    return model


def _answers() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", ["winner"], ["class_id"], to=TensorProto.INT32),
        helper.make_node("ReduceMax", ["probabilities"], ["highest"], axes=[1], keepdims=0),
        helper.make_node("Clip", ["highest", "", "one"], ["confidence"]),
        helper.make_node("Gather", ["labels", "winner"], ["label"]),
    ]


def _outputs() -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info("class_id", TensorProto.INT32, ["rows"]),
        helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ["rows"]),
        helper.make_tensor_value_info("label", TensorProto.STRING, ["rows"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 10]),
    ]


def write(folder: Path, number: str = "1") -> float:
    """Train a version, write model.onnx and metrics.json into the folder and return the held-out accuracy (0..1)."""
    train_pixels, held_out_pixels, train_digits, held_out_digits = split()
    make, choices = VERSIONS[number]
    estimator = make().fit(train_pixels, train_digits)
    accuracy = float(estimator.score(held_out_pixels, held_out_digits))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(to_graph(estimator).SerializeToString(deterministic=True))
    metrics = {
        "held_out_accuracy": round(accuracy, 4),
        "held_out_rows": len(held_out_digits),
        "training_rows": len(train_digits),
        **choices,
        "seed": SEED,
        "written_with": {name: version(name) for name in ("scikit-learn", "skl2onnx", "onnx")},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return accuracy


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train the digits model and write it as ONNX.")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where to write model.onnx and metrics.json (default: the version's folder beside this script)",
    )
    parser.add_argument(
        "--version", choices=list(VERSIONS), default="1", help="1: the forest (default); 2: the network"
    )
    chosen = parser.parse_args(arguments)
    accuracy = write(chosen.output or Path(__file__).resolve().parent / chosen.version, chosen.version)
    print(f"held-out accuracy: {accuracy:.4f}")  # noqa: T201  # the command's answer


if __name__ == "__main__":
    main()
