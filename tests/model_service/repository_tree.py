"""Small model repositories for the tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from inference_core.errors import ConfigurationError
from model_service.repository import ModelOnDisk, scan
from model_service.runtime import Runtime
from model_service.runtimes.python import PythonRuntime

PYTHON_TOML = """
runtime = "python"

[[inputs]]
name = "features"
datatype = "FP32"
shape = [-1, -1]

[[outputs]]
name = "class_id"
datatype = "INT32"
shape = [-1]
"""

SHIPPED = Path(__file__).resolve().parents[2] / "model_service" / "models"


def add_model(root: Path, name: str, toml: str = PYTHON_TOML, versions: tuple[str, ...] = ("1",)) -> Path:
    """Write a model's folder and return it."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(toml)
    for version in versions:
        (folder / version).mkdir()
    return folder


def discover(root: Path) -> list[ModelOnDisk]:
    """Return every version in a repository; raises ConfigurationError for the first thing that is wrong there."""
    found = scan([root])
    for problem in (*found.problems, *(each for model in found.models.values() for each in model.problems.values())):
        raise ConfigurationError(problem)
    return [version for model in found.models.values() for version in model.versions]


def source_of(runtime: Runtime) -> Any:
    """Return the module that a Python model was loaded from."""
    assert isinstance(runtime, PythonRuntime)
    return sys.modules[runtime._module_name]


def shipped(name: str, version: str = "1") -> ModelOnDisk:
    """Return a version of a model that ships."""
    return next(model for model in discover(SHIPPED) if (model.name, model.version) == (name, version))
