"""Models in memory: what this worker can run now, and what it says of those that it cannot."""

from __future__ import annotations

import enum
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from inference_core.errors import NoWorker, UnknownModel
from model_service.repository import ModelOnDisk, in_order
from model_service.runtime import Runtime
from model_service.threads import ComputeThread

NO_LABELS: Mapping[str, str] = MappingProxyType({})
DEFAULT = ""


class State(enum.StrEnum):
    """The states that the protocol's repository extension knows."""

    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class Standing:
    """What is said of a version: its state and, where there is something to say, why."""

    state: State
    reason: str = ""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model version with its runtime and the threads that compute for it; `loaded_at` tells it from its successor.

    In nanoseconds since 1970.
    """

    on_disk: ModelOnDisk
    runtime: Runtime
    threads: tuple[ComputeThread, ...]
    loaded_at: int = field(default_factory=time.time_ns)

    @classmethod
    def of(cls, on_disk: ModelOnDisk, runtime: Runtime) -> LoadedModel:
        """Give a loaded runtime as many compute threads as its description has instances."""
        names = [f"compute-{on_disk.name}-{number}" for number in range(on_disk.description.instances)]
        return cls(on_disk, runtime, tuple([ComputeThread(name) for name in names]))

    def close(self) -> None:
        """Let the running computations end and free the runtime."""
        for thread in self.threads:
            thread.close()
        self.runtime.close()


class Registry:
    """Loaded models by name and version, and under the version "" each model's default.

    Used on the event loop alone: what is put here serves the next call, as a whole.
    """

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], LoadedModel] = {}
        self._standing: dict[tuple[str, str], Standing] = {}
        self._labels: dict[str, Mapping[str, str]] = {}
        self._is_open = False
        self.revision = 0
        """Grows whenever other models, defaults or labels serve than before."""

    def open(self) -> None:
        """Say that the start is over: what is not here now is not known, rather than not there yet."""
        self._is_open = True

    def put(self, model: LoadedModel, reason: str = "") -> LoadedModel | None:
        """Let a model serve from now on; return the one whose place it takes."""
        name, version = key = model.on_disk.name, model.on_disk.version
        replaced = self._models.get(key)
        self._models[key] = model
        self.note(name, version, State.READY, reason)
        if self._models.get((name, DEFAULT)) is replaced:
            self._models[name, DEFAULT] = model
        self.revision += 1
        return replaced

    def remove(self, name: str, version: str) -> LoadedModel | None:
        """Let a version serve no longer and return it; the default falls to the highest one that is left."""
        removed = self._models.pop((name, version), None)
        if removed is not None and self._models.get((name, DEFAULT)) is removed:
            del self._models[name, DEFAULT]
            self.prefer(name)
        self.revision += removed is not None
        return removed

    def prefer(self, name: str, version: str = "") -> None:
        """Choose a model's default: that version if it is loaded, else the highest one that is."""
        versions = self._versions_of(name)
        chosen = version if version in versions else next(reversed(versions), None)
        if chosen is not None and self._models.get((name, DEFAULT)) is not self._models[name, chosen]:
            self._models[name, DEFAULT] = self._models[name, chosen]
            self.revision += 1

    def name_labels(self, name: str, labels: Mapping[str, str]) -> None:
        """Say which versions a model's labels stand for."""
        if self._labels.get(name, NO_LABELS) != labels:
            self._labels[name] = labels
            self.revision += 1

    def labels(self, name: str) -> Mapping[str, str]:
        """Return a model's labels, each with its version, whether or not that is loaded."""
        return self._labels.get(name, NO_LABELS)

    def note(self, name: str, version: str, state: State, reason: str = "") -> None:
        """Say how it stands with a version; "" is a model of which no version is known."""
        self._standing[name, version] = Standing(state, reason)

    def forget(self, name: str, version: str) -> None:
        """Say nothing more of a version."""
        self._standing.pop((name, version), None)

    def forget_others(self, name: str, versions: Collection[str]) -> None:
        """Say nothing more of a model's versions but these, those that serve, and those that are being unloaded."""
        for known, version in list(self._standing):
            is_there = version in versions or (name, version) in self._models
            if known == name and not is_there and self._standing[known, version].state is not State.UNLOADING:
                del self._standing[known, version]

    def get(self, name: str, version: str = DEFAULT) -> LoadedModel:
        """Return a model; an empty version means the default.

        Raises UnknownModel with the names that exist, or with the state of a version that is known and not loaded;
        NoWorker before the start is over.
        """
        model = self._models.get((name, version))
        if model is None:
            raise self._missing(name, version)
        return model

    def versions(self, name: str) -> list[str]:
        """Return the loaded versions of a model, oldest first; raises UnknownModel."""
        self.get(name)
        return self._versions_of(name)

    def has(self, name: str) -> bool:
        """Tell whether any version of a model is loaded."""
        return (name, DEFAULT) in self._models

    def names(self) -> list[str]:
        """Return the names of all models of which a version is loaded."""
        return sorted({name for name, _ in self._models})

    def all(self) -> list[LoadedModel]:
        """Return every loaded model, in order of name and version."""
        return [self._models[name, version] for name in self.names() for version in self._versions_of(name)]

    def standings(self) -> list[tuple[str, str, Standing]]:
        """Return what is said of every version, in order of name and version."""
        names = sorted({name for name, _ in self._standing})
        return [
            (name, version, self._standing[name, version])
            for name in names
            for version in in_order(version for known, version in self._standing if known == name)
        ]

    def close(self) -> None:
        """Close every model."""
        for model in self.all():
            model.close()

    def _versions_of(self, name: str) -> list[str]:
        return in_order(version for known, version in self._models if known == name and version != DEFAULT)

    def _missing(self, name: str, version: str) -> NoWorker | UnknownModel:
        if not self._is_open:
            return NoWorker("This worker has no models yet: they are loading.")
        standing = [one for known, which, one in self.standings() if known == name and version in (which, DEFAULT)]
        if standing:
            why = f": {standing[-1].reason}" if standing[-1].reason else "."
            return UnknownModel(f"Model {name} is {standing[-1].state}{why}")
        if (name, DEFAULT) in self._models:
            versions = ", ".join(self._versions_of(name))
            return UnknownModel(f"Model {name} has no such version. Versions here: {versions}.")
        return UnknownModel(f"There is no model of that name. Models here: {', '.join(self.names())}.")
