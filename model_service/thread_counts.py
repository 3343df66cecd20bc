"""How many threads one computation may use: workers times threads must not be more than the machine's processors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from inference_core.errors import ConfigurationError
from inference_core.toml_places import nearest
from model_service.description import Parameter
from model_service.repository import ModelOnDisk

THREADS = ("threads",)
log = structlog.get_logger()


def threads_of(model: ModelOnDisk, parameters: Mapping[str, Parameter], names: Sequence[str] = THREADS) -> int:
    """Return the value of the first of these parameters, and 1 where it is left out, as `counts_of`."""
    return counts_of(model, parameters, names)[0]


def counts_of(model: ModelOnDisk, parameters: Mapping[str, Parameter], names: Sequence[str]) -> list[int]:
    """Return the values of parameters that count threads, at most `model.threads`; a higher one is lowered with a word.

    Raises ConfigurationError for a parameter of another name, and for a value that is no whole number from 1.
    """
    for unknown in parameters.keys() - set(names):
        raise ConfigurationError(
            f"{model.file}: parameters.{unknown}: there is no such parameter; {nearest(unknown, names)}"
        )
    return [_count(model, name, parameters.get(name, 1)) for name in names]


def _count(model: ModelOnDisk, name: str, count: Parameter) -> int:
    if type(count) is not int or count < 1:
        raise ConfigurationError(f"{model.file}: parameters.{name} must be a whole number from 1.")
    if count > model.threads:
        log.warning("threads lowered", model=model.name, parameter=name, asked=count, given=model.threads)
    return min(count, model.threads)
