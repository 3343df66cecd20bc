# ruff: noqa: INP001  # a script in a folder of data
"""Train the benchmark's random forest on drawn data and write it as ONNX.

Data, forest and seed are fixed, so that the same versions of scikit-learn and skl2onnx write the same model again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier

SEED = 20240229
ROWS, FEATURES, CLASSES = 4000, 16, 3
TREES, DEPTH = 400, 3
OPSET = 17


def train() -> RandomForestClassifier:
    """Return the fitted forest."""
    features, classes = make_classification(
        ROWS, FEATURES, n_informative=8, n_classes=CLASSES, random_state=SEED, shuffle=False
    )
    return RandomForestClassifier(TREES, max_depth=DEPTH, random_state=SEED).fit(features.astype(np.float32), classes)


def to_graph(forest: RandomForestClassifier) -> onnx.ModelProto:
    """Return the forest as a graph from `features` to `class_id` and `confidence`."""
    model: onnx.ModelProto = to_onnx(
        forest,
        initial_types=[("features", FloatTensorType([None, FEATURES]))],
        options={"zipmap": False},
        target_opset=OPSET,
    )
    graph = model.graph
    graph.name = "forest"
    graph.node[0].output[0] = "winner"
    graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
    graph.node.extend(
        [
            helper.make_node("Cast", ["winner"], ["class_id"], to=TensorProto.INT32),
            helper.make_node("ReduceMax", ["probabilities"], ["highest"], axes=[1], keepdims=0),
            # The trees' shares add up to a little more than 1 now and then.
            helper.make_node("Min", ["highest", "one"], ["confidence"]),
        ]
    )
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("class_id", TensorProto.INT32, ["rows"]))
    graph.output.append(helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ["rows"]))
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train the benchmark's forest and write it as ONNX.")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).resolve().parent / "1",
        metavar="FOLDER",
        help="where to write model.onnx (default: the version folder beside this script)",
    )
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(to_graph(train()).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
