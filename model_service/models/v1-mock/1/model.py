# ruff: noqa: INP001  # a version folder is data, not a package
"""A mock random forest: the shape and the waiting time of a real one, but nothing was learned.

Every tree is drawn from a fixed integer hash, so that the same row has the same answer in every process and with
every version of Python and numpy, whose own generators promise less.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference_core.errors import ConfigurationError, InvalidInput
from inference_core.tensors import Array, Arrays

TREES = 25
DEPTH = 3
SPLITS = 2**DEPTH - 1
CLASSES = 3
LABELS = np.array([b"class_0", b"class_1", b"class_2"], object)
SEED = 0x1F0E57
STREAMS = FEATURE, THRESHOLD, LEAF = range(3)
THRESHOLD_STEPS = 2001  # thresholds are -10.00, -9.99, ... 10.00
ROWS_AT_ONCE = 4096  # bounds the memory of a large batch


@dataclass(frozen=True)
class Forest:
    """Complete binary trees for rows of one width; each array has one row per tree.

    `feature` [trees, splits] holds columns, `threshold` FP32 [trees, splits], `leaf` [trees, leaves] votes.
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    leaf: NDArray[np.int64]

    @classmethod
    def of_width(cls, width: int) -> Forest:
        """Draw the forest for rows of that many features."""
        threshold = draw(THRESHOLD, width, SPLITS) % np.uint64(THRESHOLD_STEPS)
        return cls(
            feature=(draw(FEATURE, width, SPLITS) % np.uint64(width)).astype(np.int64),
            threshold=((threshold.astype(np.float64) - THRESHOLD_STEPS // 2) / 100).astype(np.float32),
            leaf=(draw(LEAF, width, SPLITS + 1) % np.uint64(CLASSES)).astype(np.int64),
        )

    def votes(self, features: Array) -> NDArray[np.int64]:
        """Return how many trees vote for each class, [rows, classes]; a value above the threshold goes right."""
        rows = np.arange(len(features))[:, np.newaxis]
        trees = np.arange(TREES)
        node = np.zeros((len(features), TREES), np.int64)
        for _ in range(DEPTH):
            is_right = features[rows, self.feature[trees, node]] > self.threshold[trees, node]
            node = 2 * node + 1 + is_right
        leaves = self.leaf[trees, node - SPLITS]
        return np.stack([np.count_nonzero(leaves == number, axis=1) for number in range(CLASSES)], axis=1)


class Model:
    """The forest, after a wait of `latency` seconds for each batch."""

    def __init__(self, folder: Path, parameters: Mapping[str, object]) -> None:  # noqa: ARG002  # needs no file
        unknown = parameters.keys() - {"latency"}
        if unknown:
            raise ConfigurationError(f"parameters.{min(unknown)}: there is no such parameter; known here: latency.")
        latency = parameters.get("latency", 0.0)
        if type(latency) not in (int, float) or not 0 <= latency < math.inf:  # type: ignore[operator]  # told above
            raise ConfigurationError("parameters.latency must be a number of seconds from 0.")
        self._latency = latency

    def predict(self, inputs: Arrays) -> Arrays:
        """Return class_id INT32, confidence FP32 and label BYTES, each [rows], for features FP32 [rows, n].

        `confidence` is the winner's share of the votes; of equal winners the lowest class counts.
        Raises InvalidInput for rows without features.
        """
        features = inputs["features"]
        if features.shape[1] == 0:
            raise InvalidInput("Features must hold at least one number.")
        time.sleep(self._latency)  # type: ignore[arg-type]  # a number, as __init__ made sure
        votes = count_votes(features)
        classes = votes.argmax(axis=1).astype(np.int32)
        confidence = (votes.max(axis=1) / TREES).astype(np.float32)
        return {"class_id": classes, "confidence": confidence, "label": LABELS[classes]}


def count_votes(features: Array) -> NDArray[np.int64]:
    """Return the votes of the forest for rows of this width, [rows, classes]."""
    forest = Forest.of_width(features.shape[1])
    starts = range(0, max(len(features), 1), ROWS_AT_ONCE)
    return np.concatenate([forest.votes(features[start : start + ROWS_AT_ONCE]) for start in starts])


def draw(stream: int, width: int, count: int) -> NDArray[np.uint64]:
    """Return pseudo-random 64-bit numbers [trees, count] that depend on nothing but the arguments."""
    start = (SEED + stream + len(STREAMS) * width) * TREES * (SPLITS + 1) % 2**64
    counters = np.arange(TREES * count, dtype=np.uint64) + np.uint64(start)
    return splitmix(counters).reshape(TREES, count)


def splitmix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the output function of SplitMix64 for each number, modulo 2**64.

    Source: Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
    """
    mixed = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
