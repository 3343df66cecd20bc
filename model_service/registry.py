"""Models in memory: what this worker can run now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from inference_core.errors import NoWorker, UnknownModel
from model_service.repository import ModelOnDisk
from model_service.runtime import Runtime
from model_service.threads import ComputeThread


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model version with its runtime and the threads that compute for it."""

    on_disk: ModelOnDisk
    runtime: Runtime
    threads: tuple[ComputeThread, ...]

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
    """Loaded models by name and version; the last version given of a name is its default.

    Empty until `fill`, so that a server can answer probes while its models load.
    """

    def __init__(self) -> None:
        self._versions: dict[str, dict[str, LoadedModel]] = {}

    def fill(self, models: Iterable[LoadedModel]) -> None:
        """Make the models available, all at once."""
        versions: dict[str, dict[str, LoadedModel]] = {}
        for model in models:
            versions.setdefault(model.on_disk.name, {})[model.on_disk.version] = model
        self._versions = versions

    def get(self, name: str, version: str = "") -> LoadedModel:
        """Return a model; an empty version means the default.

        Raises UnknownModel with the names that exist, or NoWorker while there are none.
        """
        if not self._versions:
            raise NoWorker("This worker has no models yet: they are loading.")
        versions = self._versions.get(name)
        if versions is None:
            raise UnknownModel(f"There is no model of that name. Models here: {', '.join(sorted(self._versions))}.")
        if not version:
            return next(reversed(versions.values()))
        if version not in versions:
            raise UnknownModel(f"Model {name} has no such version. Versions here: {', '.join(versions)}.")
        return versions[version]

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model, oldest first; raises UnknownModel."""
        self.get(name)
        return list(self._versions[name])

    def all(self) -> list[LoadedModel]:
        """Return every loaded model, in order of name and version."""
        return [model for name in sorted(self._versions) for model in self._versions[name].values()]

    def close(self) -> None:
        """Close every model."""
        for model in self.all():
            model.close()
