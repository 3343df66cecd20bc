"""Models written in Python: their life, and what is said when one cannot be loaded."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

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
    """Return the names of modules that belong to loaded models of the tests."""
    return [name for name in sys.modules if name.startswith("model:model")]


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
        (
            "class Model:\n  def __init__(self, f, p): raise OSError('no weights')\n",
            "in line 2 of model.py: no weights",
        ),
        (RECORDING.replace("self.calls.names.append", "raise_"), "NameError in line 10 of model.py: name"),
        ("raise SystemExit(3)", "SystemExit in line 1 of model.py: 3"),
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


HELPED = """
from . import helper
from .parts.deep import LIMIT
class Model:
    def __init__(self, folder, parameters): pass
    def predict(self, inputs):
        from .late import TIMES
        return {"answer": helper.ANSWER * TIMES + LIMIT}
"""


def helped(root: Path, name: str, answer: int) -> Path:
    """Write a model that takes its answer from files beside model.py, and return its version's folder."""
    folder = add_model(root, name) / "1"
    (folder / "parts").mkdir()
    for file, source in {
        "model.py": HELPED,
        "helper.py": f"ANSWER = {answer}\n",
        "late.py": "TIMES = 10\n",
        "parts/deep.py": "from ..helper import ANSWER\nLIMIT = ANSWER\n",
    }.items():
        (folder / file).write_text(source)
    return folder


def answers(root: Path) -> list[int]:
    """Load every model there, ask all of them once all are loaded, and close them."""
    runtimes = [load(model) for model in discover(root)]
    found: list[Any] = [runtime.predict(ROWS)["answer"] for runtime in runtimes]
    for runtime in runtimes:
        runtime.close()
    return found


def test_a_model_imports_what_lies_beside_it(tmp_path: Path) -> None:
    """Files and folders of its version, also at the first request; nothing of it stays, in memory or on disk."""
    folder = helped(tmp_path, "model", 4)
    before, files = modules(), set(folder.rglob("*"))
    assert answers(tmp_path) == [44]
    assert modules() == before
    assert set(folder.rglob("*")) == files


def test_equal_names_in_two_models_do_not_meet(tmp_path: Path) -> None:
    """Two models with a helper of one name each get their own, a name with dots as well."""
    helped(tmp_path, "model", 1)
    helped(tmp_path, "model.of.dots", 2)
    assert answers(tmp_path) == [11, 22]


def test_a_changed_helper_is_seen_by_the_next_loading(tmp_path: Path) -> None:
    """Even one of the same size and time, while the loading before it goes on with what it was loaded with."""
    folder = helped(tmp_path, "model", 1)
    old = load(discover(tmp_path)[0])
    status = (folder / "helper.py").stat()
    (folder / "helper.py").write_text("ANSWER = 2\n")
    os.utime(folder / "helper.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert answers(tmp_path) == [22]
    assert old.predict(ROWS) == {"answer": 11}
    old.close()


def test_nothing_outside_the_folder_is_found(tmp_path: Path) -> None:
    """A model reaches no file above its version, so it is what its folder says."""
    write(tmp_path, "from .. import other\n")
    (tmp_path / "model" / "other.py").write_text("")
    with pytest.raises(ConfigurationError, match="ImportError"):
        load(discover(tmp_path)[0])


@pytest.mark.parametrize("source", ["import helper", "from helper import ANSWER", "import parts.deep"])
def test_an_import_without_a_dot_is_advised(tmp_path: Path, source: str) -> None:
    """An absolute import of what lies beside the model would be everybody's, so the sentence has the other one."""
    folder = helped(tmp_path, "model", 1)
    (folder / "model.py").write_text(source)
    with pytest.raises(ConfigurationError, match=r"lies beside model\.py, so write: from \. import (helper|parts)$"):
        load(discover(tmp_path)[0])


def test_a_helper_that_fails_is_named(tmp_path: Path) -> None:
    """What is wrong in it is told, and no module of the attempt stays."""
    folder = helped(tmp_path, "model", 1)
    (folder / "helper.py").write_text("import no_such_package\n")
    before = modules()
    with pytest.raises(ConfigurationError, match=r"No module named 'no_such_package'$"):
        load(discover(tmp_path)[0])
    assert modules() == before


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A version without model.py is refused with the path that is missing."""
    folder = add_model(tmp_path, "model")
    with pytest.raises(ConfigurationError, match="No such file") as caught:
        load(discover(tmp_path)[0])
    assert str(folder / "1" / "model.py") in caught.value.message
