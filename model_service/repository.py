"""Models on disk: a folder for each model, `model.toml` in it, and a folder for each of its versions.

::

    root/<model>/model.toml      what the model is: runtime, inputs, outputs, how it is batched
    root/<model>/<version>/...   what that runtime loads

A folder without model.toml is no model; inside a model, folders whose names start with "." or "_" are no versions.
"""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from inference_core.errors import ConfigurationError
from inference_core.names import is_model_name
from inference_core.tensors import DTYPES
from model_service import runtimes
from model_service.runtime import Runtime

DESCRIPTION = "model.toml"
Parameter = float | int | str | bool
NO_OVERRIDES: Mapping[str, Parameter] = MappingProxyType({})


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output; in `shape` -1 is any size, and the first dimension, always -1, counts rows."""

    name: Annotated[str, Meta(min_length=1)]
    datatype: str
    shape: Annotated[tuple[int, ...], Meta(min_length=1)]


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What model.toml says. `instances` counts compute threads; `parameters` go to the runtime.

    Rows of several calls are computed together, up to `max_batch_size`; with 1 calls never share a batch. One that is
    not full is held for at most `max_queue_delay` seconds. `inline = false` keeps a model off the event loop even when
    it is quick: for one that waits for something outside, which is quick until it is not.
    """

    runtime: str
    inputs: Annotated[tuple[Tensor, ...], Meta(min_length=1)]
    outputs: Annotated[tuple[Tensor, ...], Meta(min_length=1)]
    instances: Annotated[int, Meta(ge=1, le=64)] = 1
    parameters: dict[str, Parameter] = {}
    max_batch_size: Annotated[int, Meta(ge=1, le=65536)] = 64
    max_queue_delay: Annotated[float, Meta(ge=0, le=10)] = 0.0
    inline: bool = True


@dataclass(frozen=True)
class ModelOnDisk:
    """One version of a model; `folder` is the absolute folder of that version."""

    name: str
    version: str
    folder: Path
    description: Description

    @property
    def file(self) -> Path:
        """The model.toml that describes this model."""
        return self.folder.parent / DESCRIPTION


def discover(root: Path) -> list[ModelOnDisk]:
    """Return every version of every model below root, by name, then by version: numbers first, as numbers.

    Raises ConfigurationError, naming the file or folder and what is wrong, for the first model that cannot be
    used: a name that `is_model_name` refuses, no version, a description with an unknown key or a wrong type, a
    symbolic link that leaves root.
    """
    try:
        top = root.resolve(strict=True)
        folders = sorted(folder for folder in top.iterdir() if os.path.lexists(folder / DESCRIPTION))
        return [model for folder in folders for model in _versions_of(folder, top)]
    except OSError as error:
        place = error.filename or root
        raise ConfigurationError(f"Model repository {root}: {place} cannot be read: {error.strerror}.") from error


def load(model: ModelOnDisk, overrides: Mapping[str, Parameter] = NO_OVERRIDES) -> Runtime:
    """Load a model with the runtime it names; overrides replace parameters that model.toml declares.

    Raises ConfigurationError for a runtime that does not exist, an override of an undeclared parameter or of
    another type, and for anything that keeps the runtime from loading the model.
    """
    parameters = _overridden(model, overrides)
    name = model.description.runtime
    known = sorted(module.name for module in pkgutil.iter_modules(runtimes.__path__))
    if name not in known:
        raise ConfigurationError(f"{model.file}: runtime {name!r} is unknown. Runtimes here: {', '.join(known)}.")
    module = importlib.import_module(f"{runtimes.__name__}.{name}")
    return cast("Runtime", module.load(model, parameters))


def _versions_of(folder: Path, root: Path) -> Iterator[ModelOnDisk]:
    _check_name("Model", folder)
    _check_links(folder, root)
    description = _read(folder / DESCRIPTION)
    versions = [entry for entry in folder.iterdir() if entry.is_dir() and entry.name[0] not in "._"]
    if not versions:
        raise ConfigurationError(f"Model {folder} has no version; put its files into {folder / '1'}.")
    for version in sorted(versions, key=_version_order):
        _check_name("Version", version)
        yield ModelOnDisk(folder.name, version.name, version, description)


def _version_order(version: Path) -> tuple[bool, int, str]:
    is_number = version.name.isascii() and version.name.isdecimal()
    return not is_number, int(version.name) if is_number else 0, version.name


def _check_name(kind: str, folder: Path) -> None:
    if not is_model_name(folder.name):
        raise ConfigurationError(
            f"{kind} folder {str(folder)!r}: a name has up to 128 ASCII letters, digits, '.', '_' and '-', "
            "starts with a letter or digit and holds no '..'."
        )


def _check_links(folder: Path, root: Path) -> None:
    for path in _walk(folder):
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise ConfigurationError(f"{path} is a symbolic link that leads nowhere.") from error
        if not target.is_relative_to(root):
            raise ConfigurationError(f"{path} is a symbolic link that leaves the model repository {root}.")


def _walk(folder: Path) -> Iterator[Path]:
    # A linked folder is checked as one path: what it leads to lies inside the repository or is refused.
    yield folder
    for place, folders, files in os.walk(folder):
        yield from (Path(place, name) for name in (*folders, *files))


def _read(file: Path) -> Description:
    # Opening a FIFO would wait for ever.
    if not file.is_file():
        raise ConfigurationError(f"{file} is not a regular file.")
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        _check_keys(document)
        description = msgspec.convert(document, Description)
        _check_tensors("inputs", description.inputs)
        _check_tensors("outputs", description.outputs)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError, ConfigurationError) as error:
        raise ConfigurationError(f"{file}: {error}") from error
    return description


def _check_keys(document: dict[str, Any]) -> None:
    _refuse_unknown("key", "", document, Description.__struct_fields__)
    for section in ("inputs", "outputs"):
        tensors = document.get(section)
        for index, tensor in enumerate(tensors if isinstance(tensors, list) else []):
            if isinstance(tensor, dict):
                _refuse_unknown("key", f"{section}[{index}].", tensor, Tensor.__struct_fields__)


def _check_tensors(section: str, tensors: tuple[Tensor, ...]) -> None:
    names = [tensor.name for tensor in tensors]
    if len(set(names)) < len(names):
        raise ConfigurationError(f"{section}: two tensors have the same name.")
    for index, tensor in enumerate(tensors):
        _refuse_unknown("datatype", f"{section}[{index}].datatype = ", [tensor.datatype], DTYPES)
        if tensor.shape[0] != -1 or any(size != -1 and size < 1 for size in tensor.shape):
            raise ConfigurationError(
                f"{section}[{index}].shape = {list(tensor.shape)}: the first dimension counts rows and is -1, "
                "the others are -1 (any size) or at least 1."
            )


def _refuse_unknown(kind: str, place: str, given: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in given:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known here: {', '.join(known) or 'none'}."
            raise ConfigurationError(f"{place}{name}: there is no such {kind}; {hint}")


def _overridden(model: ModelOnDisk, overrides: Mapping[str, Parameter]) -> Mapping[str, Parameter]:
    declared = model.description.parameters
    try:
        _refuse_unknown("parameter", "override of ", overrides, declared)
        values = {name: _of_type(name, value, type(declared[name])) for name, value in overrides.items()}
    except ConfigurationError as error:
        raise ConfigurationError(f"{model.file}: {error}") from error
    return MappingProxyType({**declared, **values})


def _of_type(name: str, value: Parameter, expected: type) -> Parameter:
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise ConfigurationError(f"override of {name} must be {expected.__name__}, not {type(value).__name__}.")
    return value
