"""Libraries that only some models need, installed with an extra of this package that is called as the runtime."""

from __future__ import annotations

import importlib
from typing import Any

from inference_core.errors import ConfigurationError
from model_service.repository import ModelOnDisk


def imported(library: str, model: ModelOnDisk) -> Any:
    """Return a library that a model's runtime needs; raises ConfigurationError with what to install."""
    try:
        return importlib.import_module(library)
    except ImportError as error:
        runtime = model.description.runtime
        raise ConfigurationError(
            f"{model.file}: runtime {runtime!r} needs {library.partition('.')[0]}, which cannot be imported ({error}): "
            f".venv/bin/pip install -e '.[{runtime}]', then load the model again."
        ) from error
