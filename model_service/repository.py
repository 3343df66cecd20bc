"""Models on disk: a folder for each model, `model.toml` in it, and a folder for each of its versions.

::

    root/<model>/model.toml      what the model is: runtime, inputs, outputs, how it is batched
    root/<model>/<version>/...   what that runtime loads

A folder without model.toml is no model; inside a model, folders whose names start with "." or "_" are no versions.
There can be several roots; where two have a model of the same name, that of the first one counts. What is wrong with
one model, or with one version, is told of that one and never in the way of the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inference_core.errors import ConfigurationError
from model_service.containment import check_contained, check_name, unguarded
from model_service.contents import Stamp, stamp_of
from model_service.description import ALL, Description, Latest, read

DESCRIPTION = "model.toml"


@dataclass(frozen=True)
class ModelOnDisk:
    """One version of a model; `folder` is the absolute folder of that version, `threads` how many it may use at most.

    `stamp` changes when any of its files, or model.toml, does.
    """

    name: str
    version: str
    folder: Path
    description: Description
    stamp: Stamp = ()
    threads: int = 1

    @property
    def file(self) -> Path:
        """The model.toml that describes this model."""
        return self.folder.parent / DESCRIPTION

    @property
    def places(self) -> tuple[Path, Path]:
        """Everything that this version is made of."""
        return self.file, self.folder


@dataclass(frozen=True)
class FoundModel:
    """A model's folder: the versions that its policy wants, oldest first, and what is wrong with others.

    `problems` has a sentence by version; under "" one that is in the way of the whole model.
    """

    name: str
    folder: Path
    description: Description | None = None
    versions: tuple[ModelOnDisk, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scan:
    """All that is there, by name; `problems` are those of roots, and of folders that cannot be models.

    `warnings` are of what is there and can be changed by others.
    """

    models: Mapping[str, FoundModel]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def scan(roots: Sequence[Path], threads: int = 1) -> Scan:
    """Return what is in the repositories; reads every model.toml and looks at every file, so never on an event loop.

    `threads` is how many a model may use at most.
    """
    models: dict[str, FoundModel] = {}
    problems: list[str] = []
    warnings: list[str] = []
    for root in roots:
        try:
            top = root.resolve(strict=True)
            folders = sorted(filter(_is_meant, top.iterdir()))
        except OSError as error:
            problems.append(f"Model repository {root} cannot be read: {error.strerror}.")
            continue
        warnings.append(unguarded(top, folders))
        for folder in folders:
            problem = _collision(folder, models)
            if problem:
                problems.append(problem)
            else:
                models[folder.name] = _found(folder, top, threads)
    return Scan(models, tuple(problems), tuple(filter(None, warnings)))


def _is_meant(folder: Path) -> bool:
    # Also where its description was forgotten: other servers do without, and silence would tell nobody why.
    if os.path.lexists(folder / DESCRIPTION):
        return True
    is_plain = folder.is_dir() and not folder.is_symlink() and not folder.name.startswith(".")
    return is_plain and any(inner.name.isdecimal() and inner.is_dir() for inner in folder.iterdir())


def _collision(folder: Path, models: Mapping[str, FoundModel]) -> str:
    try:
        check_name("Model", folder)
    except ConfigurationError as error:
        return error.message
    return f"{folder} is left out: {models[folder.name].folder} has that name." if folder.name in models else ""


def _found(folder: Path, root: Path, threads: int) -> FoundModel:
    if not os.path.lexists(folder / DESCRIPTION):
        return FoundModel(folder.name, folder, problems={"": f"{folder} has no {DESCRIPTION}; see docs/MODELS.md."})
    try:
        check_contained(folder / DESCRIPTION, root)
        description = read(folder / DESCRIPTION)
        names = _wanted(folder, description)
    except (ConfigurationError, OSError) as error:
        return FoundModel(folder.name, folder, problems={"": _sentence(folder, error)})
    versions, problems = [], {}
    for name in names:
        try:
            versions.append(_version(folder / name, root, description, threads))
        except (ConfigurationError, OSError) as error:
            problems[name] = _sentence(folder / name, error)
    return FoundModel(folder.name, folder, description, tuple(versions), problems)


def _sentence(place: Path, error: ConfigurationError | OSError) -> str:
    return error.message if isinstance(error, ConfigurationError) else f"{place} cannot be read: {error.strerror}."


def _version(folder: Path, root: Path, description: Description, threads: int) -> ModelOnDisk:
    check_name("Version", folder)
    check_contained(folder, root)
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is not there, but model.toml lists it under versions.")
    stamp = stamp_of((folder.parent / DESCRIPTION, folder.resolve()))
    return ModelOnDisk(folder.parent.name, folder.name, folder, description, stamp, threads)


def _wanted(folder: Path, description: Description) -> list[str]:
    there = [entry.name for entry in folder.iterdir() if entry.name[0] not in "._" and entry.is_dir()]
    if not there:
        raise ConfigurationError(f"Model {folder} has no version; put its files into {folder / '1'}.")
    policy = description.versions
    if policy == ALL:
        return in_order(there)
    if isinstance(policy, Latest):
        return in_order(there)[-policy.latest :]
    return in_order(str(version) for version in policy)


def in_order(versions: Iterable[str]) -> list[str]:
    """Return versions oldest first: numbers as numbers, and before everything that is none."""
    return sorted(versions, key=_order)


def _order(version: str) -> tuple[bool, int, str]:
    is_number = version.isascii() and version.isdecimal()
    return not is_number, int(version) if is_number else 0, version
