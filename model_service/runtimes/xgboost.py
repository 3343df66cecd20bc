"""Runs a booster that XGBoost saved in its own formats: `<version>/model.ubj` or `model.json`.

Objectives that give probabilities answer with class_id, confidence, label and probabilities, all others with
prediction. Parameters: `threads`, 1 when left out.
"""

from __future__ import annotations

import json
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

LIBRARY = "xgboost"
CAN_DIE = True
FILES = ("model.ubj", "model.json")


class XgboostRuntime:
    """A booster that computes on rows of numbers; NaN is a missing value."""

    def __init__(self, booster: Any, classes: int, *, only_computes: bool) -> None:
        self._booster = booster
        self.only_computes = only_computes
        self._labels = labels_of(range(classes)) if classes else None
        self.inputs = features_of(int(booster.num_features()))
        self.outputs = classes_of(classes) if classes else PREDICTION

    def predict(self, inputs: Arrays) -> Arrays:
        """As `Runtime.predict`."""
        answers = self._booster.inplace_predict(inputs[FEATURES], validate_features=False)
        if self._labels is None:
            return {"prediction": np.asarray(answers, np.float32)}
        return classified(both(answers) if answers.ndim == 1 else answers, self._labels)

    def close(self) -> None:
        """As `Runtime.close`."""
        del self._booster


def load(model: ModelOnDisk, parameters: Mapping[str, Parameter]) -> Runtime:
    """Load the booster; raises ConfigurationError with the file and the reason."""
    xgboost = imported(LIBRARY, model)
    threads = threads_of(model, parameters)
    file = next((model.folder / name for name in FILES if (model.folder / name).is_file()), None)
    if file is None:
        raise ConfigurationError(f"Model file {model.folder / FILES[0]} is missing; write it with save_model.")
    try:
        booster = xgboost.Booster({"nthread": threads}, model_file=file)
        classes = _classes(booster)
    except Exception as error:
        raise ConfigurationError(f"Model file {file} cannot be loaded: {_first_line(error)}") from error
    return XgboostRuntime(booster, classes, only_computes=threads == 1)


def _classes(booster: Any) -> int:
    learner = json.loads(booster.save_config())["learner"]
    objective = learner["objective"]["name"]
    if objective == "binary:logistic":
        return BINARY
    return int(learner["learner_model_param"]["num_class"]) if objective == "multi:softprob" else 0


def _first_line(error: Exception) -> str:
    # XGBoost's own sentences end in a stack trace of C++.
    return str(error).strip().partition("\n")[0]
