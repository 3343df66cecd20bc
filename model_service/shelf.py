"""What a worker remembers of one model: what is loaded, what failed, what it has seen change."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from inference_core.deadline import now
from model_service.contents import Stamp
from model_service.description import Description
from model_service.registry import LoadedModel
from model_service.repository import ModelOnDisk

Contents = tuple[Stamp, Description]


@dataclass(frozen=True, eq=False)
class Kept:
    """A loaded version, the files that it came from and a digest of their contents."""

    model: LoadedModel
    source: ModelOnDisk
    digest: str

    def is_same(self, digest: str, on_disk: ModelOnDisk) -> bool:
        """Tell whether loading that version would give this one again."""
        return digest == self.digest and on_disk.description.as_loaded() == self.source.description.as_loaded()


@dataclass(eq=False)
class Shelf:
    """One model. Whoever holds `lock` may change what is loaded of it; `is_unloaded` holds until somebody loads it.

    `problems` has by version what is wrong with what is on disk, under "" what is in the way of all versions.
    """

    name: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    is_busy: bool = False
    is_unloaded: bool = False
    loaded: dict[str, Kept] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    _done: dict[str, Contents] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)
    _seen: dict[str, tuple[Contents, float]] = field(default_factory=dict)

    def is_due(self, on_disk: ModelOnDisk, settle_seconds: float, *, eager: bool) -> bool:
        """Tell whether a version is to be loaded: it is another than what was loaded or tried, and stays as it is."""
        contents = on_disk.stamp, on_disk.description
        if self.has_tried(on_disk) and not (eager and on_disk.version in self._failed):
            return False
        before, since = self._seen.get(on_disk.version, (None, 0.0))
        if before != contents:
            self._seen[on_disk.version] = contents, now()
            return eager
        return eager or now() - since >= settle_seconds

    def keep(self, on_disk: ModelOnDisk, kept: Kept) -> None:
        """Note that a version is loaded."""
        self.loaded[on_disk.version] = kept
        self._done[on_disk.version] = on_disk.stamp, on_disk.description
        self._failed.discard(on_disk.version)

    def fail(self, on_disk: ModelOnDisk) -> None:
        """Note that a version cannot be loaded as it is."""
        self._failed.add(on_disk.version)
        self._done[on_disk.version] = on_disk.stamp, on_disk.description

    def has_tried(self, on_disk: ModelOnDisk) -> bool:
        """Tell whether a version was loaded, or could not be, as it is now."""
        return self._done.get(on_disk.version) == (on_disk.stamp, on_disk.description)

    def has_failed(self, version: str) -> bool:
        """Tell whether what is on disk of a version could not be loaded."""
        return version in self._failed

    def tell(self, version: str, reason: str) -> bool:
        """Note what is wrong with a version, "" for nothing; return whether that is news."""
        is_news = self.problems.get(version, "") != reason
        self.problems[version] = reason
        return is_news

    def forget(self, version: str) -> None:
        """Remember nothing more of a version."""
        self._failed.discard(version)
        self.problems.pop(version, None)
        self._done.pop(version, None)
        self._seen.pop(version, None)

    def forget_others(self, versions: Collection[str]) -> None:
        """Remember nothing more of versions but these and those that are loaded."""
        known = {*self.problems, *self._done, *self._seen} - {""}
        for version in known - set(versions) - self.loaded.keys():
            self.forget(version)
