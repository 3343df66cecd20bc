"""Answers of models that are trained on tables: classes with their probabilities, or plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from inference_core.tensors import Array, Arrays
from model_service.description import Tensor

FEATURES = "features"
BINARY = 2
PREDICTION = (Tensor("prediction", "FP32", (-1,)),)


def features_of(count: int) -> tuple[Tensor, ...]:
    """Return the one input of such a model: rows of that many numbers."""
    return (Tensor(FEATURES, "FP32", (-1, count)),)


def classes_of(count: int) -> tuple[Tensor, ...]:
    """Return the outputs of a model that tells so many classes apart."""
    return (
        Tensor("class_id", "INT32", (-1,)),
        Tensor("confidence", "FP32", (-1,)),
        Tensor("label", "BYTES", (-1,)),
        Tensor("probabilities", "FP32", (-1, count)),
    )


def labels_of(classes: Sequence[Any]) -> Array:
    """Return the names of classes as BYTES."""
    labels = np.empty(len(classes), object)
    labels[:] = [str(name).encode() for name in classes]
    return labels


def classified(probabilities: Array, labels: Array) -> Arrays:
    """Return the most probable class of each row, of probabilities [rows, classes]."""
    winners = probabilities.argmax(axis=1)
    return {
        "class_id": winners.astype(np.int32),
        "confidence": probabilities[np.arange(len(winners)), winners].astype(np.float32),
        "label": labels[winners],
        "probabilities": probabilities.astype(np.float32, copy=False),
    }


def both(positive: Array) -> Array:
    """Return the probabilities of both classes, [rows, 2], where a model gives those of the second one, [rows]."""
    return np.stack([1 - positive, positive], axis=1)
