"""Model repositories for experiments: the sample models and some more, copied into one folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inference_core.settings import CHECKOUT

SAMPLES = CHECKOUT / "model_service" / "models"


@contextmanager
def repository(*folders: Path) -> Iterator[Path]:
    """Copy the models of these folders into a temporary one, because a repository refuses links that leave it."""
    with tempfile.TemporaryDirectory(prefix="hub-models-") as name:
        for folder in folders:
            shutil.copytree(folder, name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        yield Path(name)
