"""Libraries that only some models need, installed with an extra of this package."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from inference_core.errors import ConfigurationError


def imported(library: str, extra: str, file: Path) -> Any:
    """Return a library; raises ConfigurationError with what to install, for the model.toml that names its runtime."""
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise ConfigurationError(
            f"{file}: runtime {extra!r} needs {library.partition('.')[0]}, which is not installed ({error}): "
            f".venv/bin/pip install 'inference-hub[{extra}]', then load the model again."
        ) from error
