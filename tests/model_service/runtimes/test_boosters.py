"""Boosters of XGBoost and LightGBM, from the formats that these write themselves."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_iris

from inference_core.errors import ConfigurationError
from model_service.loading import load, load_and_try
from model_service.repository import ModelOnDisk
from tests.model_service.repository_tree import add_model, discover
from tests.model_service.runtimes.test_sklearn import Canary

FLOWERS, KINDS = load_iris(return_X_y=True)
ROWS = {"features": FLOWERS[::50].astype(np.float32)}
FILES = {"xgboost": "model.ubj", "lightgbm": "model.txt"}


@pytest.fixture(autouse=True)
def no_first_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load in this process alone; test_rehearsal.py has the other one, which imports the library for each model."""
    for runtime in FILES:
        monkeypatch.setattr(f"model_service.runtimes.{runtime}.CAN_DIE", False)


def model_of(root: Path, runtime: str, toml: str = "") -> ModelOnDisk:
    """Make a model's folder and return its version."""
    add_model(root, "model", f'runtime = "{runtime}"\n{toml}')
    return discover(root)[0]


def boosted(runtime: str, objective: str, targets: Any, classes: int) -> Any:
    """Train a small booster."""
    if runtime == "xgboost":
        more = {"num_class": classes} if objective.startswith("multi") else {}
        return xgboost.train({"objective": objective, "nthread": 1, **more}, xgboost.DMatrix(FLOWERS, targets), 5)
    more = {"num_class": classes} if objective == "multiclass" else {}
    data = lightgbm.Dataset(FLOWERS, targets)
    return lightgbm.train({"objective": objective, "verbosity": -1, "num_threads": 1, **more}, data, 5)


def own_answers(runtime: str, booster: Any) -> Any:
    """Return what the library itself answers."""
    return booster.predict(xgboost.DMatrix(ROWS["features"]) if runtime == "xgboost" else ROWS["features"])


@pytest.mark.parametrize(
    ("runtime", "objective", "classes"),
    [
        ("xgboost", "multi:softprob", 3),
        ("xgboost", "binary:logistic", 2),
        ("lightgbm", "multiclass", 3),
        ("lightgbm", "binary", 2),
    ],
)
def test_probabilities_become_classes(tmp_path: Path, runtime: str, objective: str, classes: int) -> None:
    """An objective with probabilities answers as every classifier here does, with the library's own numbers."""
    model, booster = model_of(tmp_path, runtime), boosted(runtime, objective, KINDS % classes, classes)
    booster.save_model(model.folder / FILES[runtime])
    complete, loaded = load_and_try(model)
    outputs, expected = loaded.predict(ROWS), own_answers(runtime, booster)
    assert complete.description.inputs[0].shape == (-1, 4)
    assert complete.description.outputs[-1].shape == (-1, classes)
    np.testing.assert_allclose(
        outputs["probabilities"][:, -1], expected if classes == 2 else expected[:, -1], atol=1e-6
    )
    assert outputs["class_id"].tolist() == outputs["probabilities"].argmax(axis=1).tolist()
    loaded.close()


@pytest.mark.parametrize(("runtime", "objective"), [("xgboost", "reg:squarederror"), ("lightgbm", "regression")])
def test_other_objectives_are_a_prediction(tmp_path: Path, runtime: str, objective: str) -> None:
    """A regression has one output, with the library's own numbers."""
    model, booster = model_of(tmp_path, runtime), boosted(runtime, objective, FLOWERS[:, 0], 0)
    booster.save_model(model.folder / FILES[runtime])
    outputs = load_and_try(model)[1].predict(ROWS)
    np.testing.assert_allclose(outputs["prediction"], own_answers(runtime, booster), atol=1e-5)


@pytest.mark.parametrize("runtime", list(FILES))
def test_a_file_that_is_no_booster_is_explained(tmp_path: Path, runtime: str) -> None:
    """A missing or broken file is refused with its path; a pickle in its place is not run."""
    model = model_of(tmp_path, runtime)
    for content in (None, b"", b"nonsense", pickle.dumps(Canary(tmp_path / "canary"))):
        file = model.folder / FILES[runtime]
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ConfigurationError) as caught:
            load(model)
        assert str(file) in caught.value.message
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("runtime", list(FILES))
def test_threads_are_bounded_by_the_machine(tmp_path: Path, runtime: str) -> None:
    """More threads than the worker's share of the processors are lowered, and a wrong parameter is refused."""
    model = model_of(tmp_path, runtime, "[parameters]\nthreads = 64\n")
    boosted(runtime, {"xgboost": "reg:squarederror", "lightgbm": "regression"}[runtime], FLOWERS[:, 0], 0).save_model(
        model.folder / FILES[runtime]
    )
    assert load(model).only_computes
    with pytest.raises(ConfigurationError, match="did you mean 'threads'"):
        load(model_of(tmp_path / "other", runtime, "[parameters]\nthread = 1\n"))
