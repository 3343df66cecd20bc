"""Small model repositories for the tests."""

from __future__ import annotations

from pathlib import Path

from model_service.repository import ModelOnDisk, discover

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


def shipped(name: str) -> ModelOnDisk:
    """Return a model of the repository that ships."""
    return next(model for model in discover(SHIPPED) if model.name == name)
