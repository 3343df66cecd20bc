"""The digits model: the committed graphs, their card and the script that writes them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_core.tensors import Array
from model_service.loading import load
from tests.model_service.repository_tree import SHIPPED, shipped

FOLDER = SHIPPED / "digits"
SCRIPT = FOLDER / "train.py"


def script() -> Any:
    """Import the training script."""
    specification = importlib.util.spec_from_file_location("digits_train", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def held_out() -> tuple[Array, Array]:
    """Return the held-out pixels and their digits."""
    _, pixels, _, digits = script().split()
    return pixels, digits


@pytest.mark.parametrize("version", ["1", "2"])
def test_the_committed_model_reaches_its_accuracy(version: str) -> None:
    """Through our runtime the committed file reaches, on digits it never saw, the accuracy that metrics.json states."""
    pixels, digits = held_out()
    outputs = load(shipped("digits", version)).predict({"features": pixels})
    accuracy = float((outputs["class_id"] == digits).mean())
    stated = json.loads((FOLDER / version / "metrics.json").read_text())
    assert accuracy >= 0.95
    assert (round(accuracy, 4), len(digits)) == (stated["held_out_accuracy"], stated["held_out_rows"])


@pytest.mark.parametrize("version", ["1", "2"])
def test_the_outputs_belong_together(version: str) -> None:
    """Class, label and confidence are those of the highest probability, in the declared dtypes."""
    pixels, _ = held_out()
    outputs = load(shipped("digits", version)).predict({"features": pixels})
    rows = np.arange(len(pixels))
    assert {name: array.dtype.name for name, array in outputs.items()} == {
        "class_id": "int32",
        "confidence": "float32",
        "label": "object",
        "probabilities": "float32",
    }
    assert outputs["label"].tolist() == [b"%d" % digit for digit in outputs["class_id"]]
    np.testing.assert_allclose(outputs["confidence"], outputs["probabilities"].max(axis=1), atol=1e-5)
    np.testing.assert_allclose(outputs["probabilities"][rows, outputs["class_id"]], outputs["confidence"], atol=1e-5)
    np.testing.assert_allclose(outputs["probabilities"].sum(axis=1), 1, atol=1e-4)
    assert 0 <= outputs["confidence"].min() <= outputs["confidence"].max() <= 1


@pytest.mark.parametrize("version", ["1", "2"])
def test_training_again_gives_the_same_model(tmp_path: Path, capsys: pytest.CaptureFixture[str], version: str) -> None:
    """The script prints an accuracy from 0.95 and writes a model with the committed one's answers, below 1 MB."""
    script().main(["--output", str(tmp_path), "--version", version])
    assert float(capsys.readouterr().out.removeprefix("held-out accuracy: ")) >= 0.95
    assert json.loads((tmp_path / "metrics.json").read_text())["held_out_accuracy"] >= 0.95
    assert max(f.stat().st_size for f in (tmp_path / "model.onnx", FOLDER / version / "model.onnx")) <= 1_000_000
    committed = shipped("digits", version)
    pixels, _ = held_out()
    ours = load(committed).predict({"features": pixels})
    again = load(replace(committed, folder=tmp_path)).predict({"features": pixels})
    np.testing.assert_array_equal(ours["class_id"], again["class_id"])
    np.testing.assert_allclose(ours["probabilities"], again["probabilities"], atol=1e-5)


def test_the_example_is_a_held_out_six() -> None:
    """The example on the card is a digit from the held-out set, a 6, and is read as one."""
    request = json.loads((FOLDER / "example.json").read_text())
    assert request.keys() == {"model_name", "features"}
    features = np.array([request["features"]], np.float32)
    pixels, digits = held_out()
    matches = digits[(pixels == features).all(axis=1)]
    assert matches.tolist() == [6]
    assert load(shipped("digits")).predict({"features": features})["label"].tolist() == [b"6"]


def test_the_script_explains_itself() -> None:
    """Run as a command, the training script has a help text that names its option."""
    done = subprocess.run([sys.executable, str(SCRIPT), "--help"], check=True, capture_output=True, text=True)
    assert "--output FOLDER" in done.stdout


@pytest.mark.parametrize("name", ["sentiment", "v1-mock", "digits"])
def test_every_card_names_what_its_model_takes_and_gives(name: str) -> None:
    """Each model's card lists every input and output of its model.toml with datatype and shape, and a curl example."""
    card = (SHIPPED / name / "README.md").read_text()
    description = shipped(name).description
    for tensor in (*description.inputs, *description.outputs):
        assert f"| `{tensor.name}` | {tensor.datatype} | {list(tensor.shape)} |" in card
    assert "curl http://localhost:3000/predict" in card


def test_the_forest_serves_until_somebody_says_otherwise() -> None:
    """Without a version the first one answers; the second one is there by its label, for traffic to be split."""
    description = shipped("digits").description
    assert (description.default_version, description.label_versions) == ("1", {"stable": "1", "canary": "2"})
