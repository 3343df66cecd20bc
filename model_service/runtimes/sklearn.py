"""Runs a fitted scikit-learn estimator: `<version>/model.skops`, a format in which nothing is code.

Classifiers answer with class_id, confidence, label and probabilities, everything else with prediction. With
`allow_pickle = true` in model.toml `<version>/model.joblib` or `model.pkl` is loaded as well, which runs whatever code
its author put there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from inference_core.errors import ConfigurationError
from inference_core.tensors import Array, Arrays
from model_service.description import Parameter, Tensor
from model_service.optional import imported
from model_service.repository import ModelOnDisk
from model_service.runtime import Runtime
from model_service.scores import classes_of, classified, features_of, labels_of

LIBRARY = "skops.io"
FILE = "model.skops"
ARCHIVES = (FILE,)
PICKLES = ("model.joblib", "model.pkl")

log = structlog.get_logger()


class SklearnRuntime:
    """An estimator with `predict`; one that has `predict_proba` tells its classes' probabilities."""

    only_computes = False

    def __init__(self, estimator: Any, inputs: tuple[Tensor, ...]) -> None:
        self._estimator = estimator
        self.inputs = inputs or features_of(int(getattr(estimator, "n_features_in_", -1)))
        self._names = [tensor.name for tensor in self.inputs]
        classes = getattr(estimator, "classes_", None)
        self._labels = None if classes is None or not hasattr(estimator, "predict_proba") else labels_of(classes)
        width = tuple(estimator.predict(_example(self.inputs)).shape[1:])
        prediction = (Tensor("prediction", "FP32", (-1, *width)),)
        self.outputs = prediction if self._labels is None else classes_of(len(self._labels))

    def predict(self, inputs: Arrays) -> Arrays:
        """As `Runtime.predict`."""
        rows = _matrix([inputs[name] for name in self._names])
        if self._labels is None:
            return {"prediction": np.asarray(self._estimator.predict(rows), np.float32)}
        return classified(np.asarray(self._estimator.predict_proba(rows)), self._labels)

    def close(self) -> None:
        """As `Runtime.close`."""
        del self._estimator


def load(model: ModelOnDisk, parameters: Mapping[str, Parameter]) -> Runtime:
    """Load the estimator; `inputs` of model.toml may split its columns, in order, into several numeric tensors.

    Takes no parameters. Raises ConfigurationError with the file and the reason: among others for a type that
    scikit-learn and skops do not vouch for and `trusted_types` does not list.
    """
    if parameters:
        raise ConfigurationError(f"{model.file}: parameters.{min(parameters)}: this runtime takes none.")
    estimator = _estimator(model)
    try:
        return SklearnRuntime(estimator, model.description.inputs)
    except Exception as error:
        raise ConfigurationError(
            f"{model.folder}: the estimator cannot be used: {type(error).__name__}: {error}"
        ) from error


def _estimator(model: ModelOnDisk) -> Any:
    file = model.folder / FILE
    pickles = [model.folder / name for name in PICKLES if (model.folder / name).exists()]
    if file.exists() or not pickles:
        return _from_skops(model, file)
    if not model.description.allow_pickle:
        raise ConfigurationError(
            f"{pickles[0]} is a pickle, which can run any code when it is loaded. Save the estimator with "
            f"skops.io.dump(estimator, {FILE!r}), or set allow_pickle = true in {model.file} if you trust its author."
        )
    log.warning("pickle loaded", file=str(pickles[0]), meaning="its author's code runs in this worker")
    return _from_pickle(model, pickles[0])


def _from_skops(model: ModelOnDisk, file: Path) -> Any:
    skops = imported(LIBRARY, model)
    if not file.is_file():
        raise ConfigurationError(f"Model file {file} is missing; write it with skops.io.dump(estimator, {FILE!r}).")
    trusted = set(model.description.trusted_types)
    try:
        unknown = sorted(set(skops.get_untrusted_types(file=file)) - trusted)
        if not unknown:
            return skops.load(file, trusted=sorted(trusted & set(skops.get_untrusted_types(file=file))))
    except Exception as error:
        raise ConfigurationError(f"Model file {file} cannot be loaded: {type(error).__name__}: {error}") from error
    raise ConfigurationError(
        f"Model file {file} has types that are not trusted: {', '.join(unknown)}. If you know them, list them in "
        f"{model.file} under trusted_types."
    )


def _from_pickle(model: ModelOnDisk, file: Path) -> Any:
    joblib = imported("joblib", model)
    try:
        return joblib.load(file)
    except Exception as error:
        raise ConfigurationError(f"Model file {file} cannot be loaded: {type(error).__name__}: {error}") from error


def _example(tensors: tuple[Tensor, ...]) -> Array:
    shapes = [(1, *(max(size, 1) for size in tensor.shape[1:])) for tensor in tensors]
    return _matrix([np.zeros(shape, np.float32) for shape in shapes])


def _matrix(columns: list[Array]) -> Array:
    if len(columns) == 1:
        return columns[0]
    return np.concatenate([column.reshape(len(column), -1) for column in columns], axis=1)
