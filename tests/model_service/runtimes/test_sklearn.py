"""scikit-learn estimators: read from skops, never from a pickle unless model.toml says so."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from structlog.testing import capture_logs

from inference_core.errors import ConfigurationError
from model_service.loading import load, load_and_try
from model_service.repository import ModelOnDisk
from tests.model_service.repository_tree import add_model, discover

FLOWERS, KINDS = load_iris(return_X_y=True)
ROWS = {"features": FLOWERS[::50].astype(np.float32)}


class Canary:
    """A pickle of it touches a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        """Run code on the other side."""
        return Path.touch, (self._file,)


class Unvouched(LogisticRegression):  # type: ignore[misc]  # untyped there
    """A type that skops does not know."""


def model_of(root: Path, toml: str = 'runtime = "sklearn"\n') -> ModelOnDisk:
    """Make a model's folder and return its version."""
    add_model(root, "model", toml)
    return discover(root)[0]


def with_estimator(root: Path, estimator: Any, toml: str = 'runtime = "sklearn"\n') -> ModelOnDisk:
    """Write a fitted estimator as a version."""
    model = model_of(root, toml)
    skops.io.dump(estimator, model.folder / "model.skops")
    return model


def test_a_classifier_needs_one_line_of_description(tmp_path: Path) -> None:
    """Its inputs and outputs are read from the estimator, and its answers are the estimator's."""
    estimator = LogisticRegression(max_iter=500).fit(FLOWERS, np.array(["a", "b", "c"])[KINDS])
    complete, runtime = load_and_try(with_estimator(tmp_path, estimator))
    outputs = runtime.predict(ROWS)
    assert [(one.name, one.datatype, one.shape) for one in complete.description.inputs] == [
        ("features", "FP32", (-1, 4))
    ]
    assert [one.name for one in complete.description.outputs] == list(outputs)
    assert outputs["label"].tolist() == [b"a", b"b", b"c"]
    np.testing.assert_allclose(outputs["probabilities"], estimator.predict_proba(ROWS["features"]), atol=1e-6)
    np.testing.assert_array_equal(outputs["confidence"], outputs["probabilities"].max(axis=1))
    runtime.close()


@pytest.mark.parametrize(("targets", "shape"), [(FLOWERS[:, 0], (-1,)), (FLOWERS[:, :2], (-1, 2))])
def test_a_regressor_answers_with_its_prediction(tmp_path: Path, targets: Any, shape: tuple[int, ...]) -> None:
    """An estimator without probabilities has one output, as wide as what it was fitted to."""
    estimator = LinearRegression().fit(FLOWERS, targets)
    complete, runtime = load_and_try(with_estimator(tmp_path, estimator))
    assert [(one.name, one.shape) for one in complete.description.outputs] == [("prediction", shape)]
    np.testing.assert_allclose(runtime.predict(ROWS)["prediction"], estimator.predict(ROWS["features"]), atol=1e-5)


def test_a_type_must_be_trusted_by_name(tmp_path: Path) -> None:
    """A type that skops does not vouch for is refused by name, and loaded once model.toml lists it."""
    estimator = Unvouched(max_iter=500).fit(FLOWERS, KINDS)
    name = f"{Unvouched.__module__}.Unvouched"
    with pytest.raises(ConfigurationError, match=f"not trusted: {name}. .* under trusted_types"):
        load(with_estimator(tmp_path / "without", estimator))
    toml = f'runtime = "sklearn"\ntrusted_types = ["{name}", "never.Used"]\n'
    assert load(with_estimator(tmp_path / "with", estimator, toml)).predict(ROWS)["class_id"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["model.joblib", "model.pkl"])
def test_a_pickle_is_never_loaded_unasked(tmp_path: Path, name: str) -> None:
    """A pickle beside model.toml is refused with the way out, and its code does not run."""
    model = model_of(tmp_path)
    (model.folder / name).write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    with pytest.raises(ConfigurationError, match=r"can run any code .* skops\.io\.dump.* allow_pickle = true"):
        load(model)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_under_another_name_is_no_skops_file(tmp_path: Path, zipped: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """What a file is called does not make it one: a pickle as model.skops, bare or in a zip, is refused and not run."""
    model = model_of(tmp_path)
    content = pickle.dumps(Canary(tmp_path / "canary"))
    if zipped:
        with zipfile.ZipFile(model.folder / "model.skops", "w") as archive:
            archive.writestr("schema.json", content)
            archive.writestr("data.pkl", content)
    else:
        (model.folder / "model.skops").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"model\.skops cannot be loaded"):
        load(model)
    assert not (tmp_path / "canary").exists()


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """A skops file that would become more than a version may have is refused; a packed one that has room is read."""
    estimator = LogisticRegression(max_iter=500).fit(FLOWERS, KINDS)
    model = model_of(tmp_path)
    skops.io.dump(estimator, model.folder / "model.skops", compression=zipfile.ZIP_DEFLATED)
    assert load(model, most_bytes=1_000_000).predict(ROWS)["class_id"].tolist() == [0, 1, 2]
    with zipfile.ZipFile(model.folder / "model.skops", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(1_000_000))
    with pytest.raises(ConfigurationError, match=r"model\.skops is not unpacked: it would become \d+ bytes"):
        load(model, most_bytes=1_000_000)


def test_a_pickle_is_loaded_when_asked_with_a_warning(tmp_path: Path) -> None:
    """With allow_pickle = true a joblib file is a model, and the log says what that means."""
    model = model_of(tmp_path, 'runtime = "sklearn"\nallow_pickle = true\n')
    joblib.dump(LogisticRegression(max_iter=500).fit(FLOWERS, KINDS), model.folder / "model.joblib")
    with capture_logs() as logged:
        assert load(model).predict(ROWS)["class_id"].tolist() == [0, 1, 2]
    assert [(line["event"], line["log_level"]) for line in logged] == [("pickle loaded", "warning")]


@pytest.mark.parametrize("content", [None, b"", b"PK\x05\x06"])
def test_a_broken_file_is_explained(tmp_path: Path, content: bytes | None) -> None:
    """A missing, empty or broken file is refused with its path."""
    model = model_of(tmp_path)
    file = model.folder / "model.skops"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load(model)
    assert str(file) in caught.value.message
