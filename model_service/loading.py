"""From a version on disk to a model that may serve: found its runtime, loaded, its signature known, tried.

A runtime is one file in `model_service/runtimes`, or a function `load` that an installed package offers under the
entry point group `inference_hub.runtimes`. It is imported when the first model names it.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar, cast

import msgspec

from inference_core.errors import ConfigurationError
from inference_core.toml_places import nearest
from model_service import runtimes
from model_service.archives import check_archive
from model_service.contents import bytes_of
from model_service.description import Parameter
from model_service.rehearsal import rehearse
from model_service.repository import ModelOnDisk
from model_service.runtime import Load, Runtime, is_row_by_row
from model_service.sums import check_sums
from model_service.warming import resolved, warm_up

GROUP = "inference_hub.runtimes"
NO_OVERRIDES: Mapping[str, Parameter] = MappingProxyType({})
KIB = 1024
NO_NAMES: tuple[str, ...] = ()
Said = TypeVar("Said")


def load(model: ModelOnDisk, overrides: Mapping[str, Parameter] = NO_OVERRIDES, most_bytes: int = 0) -> Runtime:
    """Load a version with the runtime it names; overrides replace parameters that model.toml declares.

    Raises ConfigurationError for a runtime that does not exist, an override of an undeclared parameter or of another
    type, files that are too large or not those of their SHA256SUMS, and for anything that keeps the runtime from
    loading the model.
    """
    parameters = _overridden(model, overrides)
    room = check_size(model, most_bytes)
    is_vouched_for = check_sums(model.folder)
    loader = _loader(model)
    for name in _said(loader, "ARCHIVES", NO_NAMES):
        check_archive(model.folder / name, room)
    if _said(loader, "CAN_DIE", default=False) and not is_vouched_for:
        rehearse(model, loader.__module__)
    return loader(model, parameters)


def load_and_try(
    model: ModelOnDisk, overrides: Mapping[str, Parameter] = NO_OVERRIDES, most_bytes: int = 0
) -> tuple[ModelOnDisk, Runtime]:
    """Load a version, complete its signature, and run the samples of model.toml.

    Raises ConfigurationError as `load`, for a signature that is incomplete or not the model's, and for a sample that
    fails or is answered with something else than model.toml says.
    """
    runtime = load(model, overrides, most_bytes)
    try:
        inputs, outputs = resolved(model.file, model.description, runtime)
        most = 1 if is_row_by_row(runtime) else model.description.max_batch_size
        description = msgspec.structs.replace(model.description, inputs=inputs, outputs=outputs, max_batch_size=most)
        warm_up(model.file, description, runtime)
    except BaseException:
        runtime.close()
        raise
    return replace(model, description=description), runtime


def prepare(model: ModelOnDisk) -> None:
    """Import what a version will need, so that loading it takes no longer than it must; failures are for `load`."""
    with contextlib.suppress(Exception):
        module = sys.modules[_loader(model).__module__]
        importlib.import_module(getattr(module, "LIBRARY", "numpy"))


def known_runtimes() -> list[str]:
    """Return the names that `runtime` may have in model.toml."""
    ours = [module.name for module in pkgutil.iter_modules(runtimes.__path__)]
    return sorted({*ours, *entry_points(group=GROUP).names})


def check_size(model: ModelOnDisk, most_bytes: int = 0, available: int | None = None) -> int:
    """Return how many bytes a version may have: as many as memory has available now, and at most `most_bytes`, if any.

    Raises ConfigurationError where its files have more; looks at their sizes alone.
    """
    size = bytes_of(model.folder)
    memory = _available_memory() if available is None else available
    if size > memory:
        raise ConfigurationError(f"{model.folder} has {size} bytes, and only {memory} bytes of memory are available.")
    if most_bytes and size > most_bytes:
        raise ConfigurationError(f"{model.folder} has {size} bytes, and inference.max_model_bytes is {most_bytes}.")
    return min(memory, most_bytes or memory)


def _loader(model: ModelOnDisk) -> Load:
    name = model.description.runtime
    if name in [module.name for module in pkgutil.iter_modules(runtimes.__path__)]:
        module = importlib.import_module(f"{runtimes.__name__}.{name}")
        return cast("Load", module.load)
    for entry in entry_points(group=GROUP, name=name):
        try:
            return cast("Load", entry.load())
        except Exception as error:
            raise ConfigurationError(f"{model.file}: runtime {name!r} cannot be imported: {error}") from error
    raise ConfigurationError(f"{model.file}: runtime {name!r} is unknown; known here: {', '.join(known_runtimes())}.")


def _said(loader: Load, name: str, default: Said) -> Said:
    # A package's `load` may be anything that can be called.
    module = sys.modules.get(getattr(loader, "__module__", ""))
    said: Said = getattr(module, name, default)
    return said


def _available_memory() -> int:
    # proc(5): what can be used without swapping.
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * KIB
    raise ConfigurationError("/proc/meminfo has no line MemAvailable.")


def _overridden(model: ModelOnDisk, overrides: Mapping[str, Parameter]) -> Mapping[str, Parameter]:
    declared = model.description.parameters
    for name in overrides.keys() - declared.keys():
        raise ConfigurationError(
            f"{model.file}: override of {name}: there is no such parameter; {nearest(name, declared)}"
        )
    values = {name: _of_type(model, name, value, type(declared[name])) for name, value in overrides.items()}
    return MappingProxyType({**declared, **values})


def _of_type(model: ModelOnDisk, name: str, value: Parameter, expected: type) -> Parameter:
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise ConfigurationError(
            f"{model.file}: override of {name} must be {expected.__name__}, not {type(value).__name__}."
        )
    return value
