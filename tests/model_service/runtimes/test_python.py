"""Models written in Python: their life, and what is said when one cannot be loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from inference_core.errors import ConfigurationError
from model_service.loading import load
from tests.model_service.repository_tree import add_model, discover

ROWS = {"features": np.zeros((2, 3), np.float32)}
RECORDING = """
import dataclasses
@dataclasses.dataclass
class Calls:
    names: list
class Model:
    def __init__(self, folder, parameters):
        self.calls = Calls([folder.name])
    def warmup(self):
        self.calls.names.append("warmup")
    def predict(self, inputs):
        return {"calls": self.calls, **inputs}
    def close(self):
        self.calls.names.append("close")
"""


def write(root: Path, source: str) -> Path:
    """Write a repository with one model of that source and return its model.py."""
    file = add_model(root, "model") / "1" / "model.py"
    file.write_text(source)
    return file


def modules() -> list[str]:
    """Return the names of modules that belong to a loaded model of the tests."""
    return [name for name in sys.modules if name.startswith("model:model:1")]


def test_a_model_is_constructed_warmed_up_and_closed(tmp_path: Path) -> None:
    """The life of a model: constructed with its folder, warmed up once, asked, closed, and its module forgotten."""
    write(tmp_path, RECORDING)
    before = modules()
    runtime = load(discover(tmp_path)[0])
    outputs = runtime.predict(ROWS)
    assert outputs["features"] is ROWS["features"]
    assert len(modules()) == len(before) + 1
    runtime.close()
    assert outputs["calls"].names == ["1", "warmup", "close"]  # type: ignore[attr-defined]  # an object of the test's
    assert modules() == before


def test_warmup_and_close_may_be_left_out(tmp_path: Path) -> None:
    """A model needs only a constructor and predict."""
    write(tmp_path, "class Model:\n  def __init__(self, f, p): pass\n  def predict(self, inputs): return inputs\n")
    runtime = load(discover(tmp_path)[0])
    assert runtime.predict(ROWS) == ROWS
    runtime.close()


def test_an_error_while_answering_passes_unchanged(tmp_path: Path) -> None:
    """The runtime does not disguise what a model raises on a request."""
    write(tmp_path, "class Model:\n  def __init__(self, f, p): pass\n  def predict(self, inputs): return 1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        load(discover(tmp_path)[0]).predict(ROWS)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("class Model(:", "SyntaxError"),
        ("import no_such_package", "No module named 'no_such_package'"),
        ("class Modell: pass", "no attribute 'Model'"),
        ("class Model: pass", "takes no arguments"),
        ("class Model:\n  def __init__(self, f, p): pass", "no method predict"),
        ("class Model:\n  def __init__(self, f, p): raise OSError('no weights')\n", "OSError: no weights"),
        (RECORDING.replace("self.calls.names.append", "raise_"), "name 'raise_' is not defined"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        (
            "from inference_core.errors import ConfigurationError\nraise ConfigurationError('parameters.x is odd.')",
            "loaded: parameters.x is odd.",
        ),
    ],
)
def test_a_model_that_cannot_be_loaded_is_explained(tmp_path: Path, source: str, reason: str) -> None:
    """Whatever goes wrong while loading names the file and the reason, and leaves no module behind."""
    file = write(tmp_path, source)
    before = modules()
    with pytest.raises(ConfigurationError) as caught:
        load(discover(tmp_path)[0])
    assert str(file) in caught.value.message
    assert reason in caught.value.message
    assert modules() == before


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A version without model.py is refused with the path that is missing."""
    folder = add_model(tmp_path, "model")
    with pytest.raises(ConfigurationError, match="No such file") as caught:
        load(discover(tmp_path)[0])
    assert str(folder / "1" / "model.py") in caught.value.message
