"""Runs a booster that LightGBM saved in its own text format: `<version>/model.txt`.

Objectives that give probabilities answer with class_id, confidence, label and probabilities, all others with
prediction. Parameters: `threads`, 1 when left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inference_core.errors import ConfigurationError
from inference_core.tensors import Arrays
from model_service.description import Parameter
from model_service.optional import imported
from model_service.repository import ModelOnDisk
from model_service.runtime import Runtime
from model_service.scores import BINARY, FEATURES, PREDICTION, both, classes_of, classified, features_of, labels_of
from model_service.thread_counts import threads_of

LIBRARY = "lightgbm"
CAN_DIE = True
FILE = "model.txt"
MULTICLASS = ("multiclass", "multiclassova")


class LightgbmRuntime:
    """A booster that computes on rows of numbers; NaN is a missing value."""

    def __init__(self, booster: Any, classes: int, threads: int) -> None:
        self._booster = booster
        self._threads = threads
        self.only_computes = threads == 1
        self._labels = labels_of(range(classes)) if classes else None
        self.inputs = features_of(int(booster.num_feature()))
        self.outputs = classes_of(classes) if classes else PREDICTION

    def predict(self, inputs: Arrays) -> Arrays:
        """As `Runtime.predict`."""
        answers = np.asarray(self._booster.predict(inputs[FEATURES], num_threads=self._threads))
        if self._labels is None:
            return {"prediction": answers.astype(np.float32)}
        return classified(both(answers) if answers.ndim == 1 else answers, self._labels)

    def close(self) -> None:
        """As `Runtime.close`."""
        self._booster.free_dataset()
        del self._booster


def load(model: ModelOnDisk, parameters: Mapping[str, Parameter]) -> Runtime:
    """Load the booster; raises ConfigurationError with the file and the reason."""
    lightgbm = imported(LIBRARY, model)
    threads = threads_of(model, parameters)
    file = model.folder / FILE
    if not file.is_file():
        raise ConfigurationError(f"Model file {file} is missing; write it with booster.save_model.")
    try:
        booster = lightgbm.Booster(model_file=str(file))
        classes = _classes(booster)
    except Exception as error:
        raise ConfigurationError(f"Model file {file} cannot be loaded: {error}") from error
    return LightgbmRuntime(booster, classes, threads)


def _classes(booster: Any) -> int:
    words = str(booster.dump_model(num_iteration=1).get("objective", "")).split()
    objective = words[0] if words else ""
    if objective == "binary":
        return BINARY
    return int(booster.num_model_per_iteration()) if objective in MULTICLASS else 0
