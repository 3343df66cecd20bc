"""Brings one model into step with what was found of it on disk, while it serves.

A version is loaded beside the one whose place it takes, in a thread; once it has answered its samples it takes that
place as a whole, and the old one is freed when its calls have ended. Whatever goes wrong is noted beside the version
(`Registry.standings`) and changes nothing for the one that serves.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from inference_core.errors import InferenceHubError
from model_service import memory
from model_service.contents import digest_of
from model_service.description import Parameter
from model_service.engine import Engine
from model_service.loading import NO_OVERRIDES, check_size, load_and_try, prepare
from model_service.registry import LoadedModel, Registry, State
from model_service.repository import FoundModel, ModelOnDisk
from model_service.shelf import Kept, Shelf
from model_service.threads import in_thread

AT_ONCE = 2
LONGEST_REASON = 1000
GONE = "its folder is gone; it serves until it is unloaded or the worker ends"
UNLOADED = "it was unloaded; load it, or restart the worker"

log = structlog.get_logger()


class Loading(msgspec.Struct, frozen=True):
    """Where models lie and how they are loaded; times in seconds. `threads` is how many one computation may use.

    A version is loaded by itself once it has stayed as it is for `settle_seconds`, and if it has at most `most_bytes`;
    0 is no limit but memory. `overrides` replace parameters, by model.
    """

    roots: tuple[Path, ...]
    threads: int = 1
    poll_seconds: float = 0.25
    settle_seconds: float = 0.4
    load_seconds: float = 120.0
    drain_seconds: float = 30.0
    most_bytes: int = 0
    overrides: Mapping[str, Mapping[str, Parameter]] = {}


class Placing:
    """Does the work on one model at a time; `tasks` are what it has begun in the background."""

    def __init__(self, registry: Registry, engine: Engine, loading: Loading) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._registry = registry
        self._engine = engine
        self._loading = loading
        self._prepared: set[str] = set()
        self._turns = asyncio.Semaphore(AT_ONCE)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin something that ends by itself, whoever waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def bring_up(self, shelf: Shelf, found: FoundModel | None, *, eager: bool) -> None:
        """Load, replace and drop versions as the disk says; eagerly also what has just changed, or failed before."""
        async with shelf.lock:
            if shelf.is_unloaded:
                self.drop_all(shelf)
                there = () if found is None else found.versions
                self._forget_others(shelf, [on_disk.version for on_disk in there])
            elif found is None:
                self._keep_without_folder(shelf)
            else:
                await self._follow(shelf, found, eager=eager)

    async def withdraw(self, shelf: Shelf) -> None:
        """Drop what was loaded of a model while it was being unloaded, unless somebody wants it again by now."""
        async with shelf.lock:
            if shelf.is_unloaded:
                self.drop_all(shelf)

    def drop_all(self, shelf: Shelf) -> list[asyncio.Task[None]]:
        """As `drop`, for every version that is loaded."""
        return [self.drop(shelf, version) for version in list(shelf.loaded)]

    def drop(self, shelf: Shelf, version: str) -> asyncio.Task[None]:
        """Take a version out of service; the task ends when it is freed."""
        kept = shelf.loaded.pop(version)
        shelf.forget(version)
        self._registry.remove(shelf.name, version)
        self._registry.note(shelf.name, version, State.UNLOADING)
        log.info("model unloaded", model=shelf.name, version=version)
        return self.spawn(self._let_go(shelf, version, kept.model))

    async def _follow(self, shelf: Shelf, found: FoundModel, *, eager: bool) -> None:
        broken = found.problems.get("")
        if broken is not None:
            for version in shelf.loaded or ("",):
                self._note_problem(shelf, version, broken)
            return
        self._note_problem(shelf, "", "")
        for version, problem in found.problems.items():
            self._note_problem(shelf, version, problem)
        for on_disk in found.versions:
            if shelf.is_due(on_disk, self._loading.settle_seconds, eager=eager):
                await self._replace(shelf, on_disk)
            elif shelf.has_tried(on_disk):
                self._settled(shelf, on_disk.version)
            else:
                self._prepare(on_disk)
        if found.description is not None:
            self._registry.name_labels(shelf.name, found.description.label_versions)
            self._registry.prefer(shelf.name, str(found.description.default_version))
        self._drop_surplus(shelf, found)

    async def _replace(self, shelf: Shelf, on_disk: ModelOnDisk) -> None:
        name, version, kept = on_disk.name, on_disk.version, shelf.loaded.get(on_disk.version)
        if kept is None:
            self._registry.note(name, version, State.LOADING)
        started = time.perf_counter()
        limit = self._loading.load_seconds
        try:
            async with self._turns:
                fresh = await in_thread(f"load-{name}", partial(self._load, on_disk, kept), limit, _dispose)
        except TimeoutError:
            shelf.fail(on_disk)
            self._note_problem(shelf, version, f"it was not loaded within {limit} s (inference.load_timeout)")
        except Exception as error:  # noqa: BLE001  # whatever a model's files do, the worker goes on
            shelf.fail(on_disk)
            is_expected = isinstance(error, InferenceHubError)
            reason = error.message if isinstance(error, InferenceHubError) else f"{type(error).__name__}: {error}"
            self._note_problem(shelf, version, reason, None if is_expected else error)
        else:
            self._take_over(shelf, on_disk, fresh, time.perf_counter() - started)

    def _load(self, on_disk: ModelOnDisk, kept: Kept | None) -> Kept | None:
        # Runs in a thread. None: what is loaded is the same, by content.
        most_bytes = self._loading.most_bytes
        check_size(on_disk, most_bytes)  # before anything is read, which of a huge file would take for ever
        digest = digest_of((on_disk.folder,))
        if kept is not None and kept.is_same(digest, on_disk):
            return None
        complete, runtime = load_and_try(on_disk, self._loading.overrides.get(on_disk.name, NO_OVERRIDES), most_bytes)
        return Kept(LoadedModel.of(complete, runtime), on_disk, digest)

    def _take_over(self, shelf: Shelf, on_disk: ModelOnDisk, fresh: Kept | None, seconds: float) -> None:
        version = on_disk.version
        if shelf.is_unloaded:
            if fresh is not None:
                self.spawn(self._free(fresh.model))
        elif fresh is not None:
            shelf.keep(on_disk, fresh)
            old = self._registry.put(fresh.model)
            took = {"seconds": round(seconds, 3), "replaced": old is not None}
            log.info("model loaded", model=shelf.name, version=version, **took)
            if old is not None:
                self.spawn(self._free(old))
            shelf.tell(version, "")
        elif version in shelf.loaded:
            shelf.keep(on_disk, shelf.loaded[version])
            self._note_problem(shelf, version, "")

    def _prepare(self, on_disk: ModelOnDisk) -> None:
        # While its files settle, for large libraries take seconds to import.
        if on_disk.description.runtime not in self._prepared:
            self._prepared.add(on_disk.description.runtime)
            threading.Thread(target=prepare, args=(on_disk,), name="prepare", daemon=True).start()

    def _settled(self, shelf: Shelf, version: str) -> None:
        # It serves as it is on disk: what was wrong with model.toml or the folder meanwhile is no longer so.
        if version in shelf.loaded and not shelf.has_failed(version):
            self._note_problem(shelf, version, "")

    def _drop_surplus(self, shelf: Shelf, found: FoundModel) -> None:
        wanted = {on_disk.version for on_disk in found.versions}
        self._forget_others(shelf, wanted | found.problems.keys())
        # Until all that is wanted serves, what served before is better than nothing.
        if wanted and wanted <= shelf.loaded.keys():
            for version in shelf.loaded.keys() - wanted - found.problems.keys():
                self.drop(shelf, version)

    def _forget_others(self, shelf: Shelf, versions: Any) -> None:
        shelf.forget_others(versions)
        self._registry.forget_others(shelf.name, versions)

    def _keep_without_folder(self, shelf: Shelf) -> None:
        self._forget_others(shelf, ())
        for version in shelf.loaded:
            self._note_problem(shelf, version, GONE)

    async def _let_go(self, shelf: Shelf, version: str, model: LoadedModel) -> None:
        await self._free(model)
        if version in shelf.loaded:
            return
        if shelf.is_unloaded:
            self._registry.note(shelf.name, version, State.UNAVAILABLE, UNLOADED)
        else:
            self._registry.forget(shelf.name, version)
            self._engine.forget(shelf.name, version)

    async def _free(self, model: LoadedModel) -> None:
        seconds = self._loading.drain_seconds
        if await self._engine.retire(model, seconds):
            await in_thread("close", partial(_close, model), seconds)
        else:
            log.error("model not freed", model=model.on_disk.name, version=model.on_disk.version)

    def _note_problem(self, shelf: Shelf, version: str, reason: str, error: BaseException | None = None) -> None:
        told = self._without_roots(reason)[:LONGEST_REASON]
        serves = version in shelf.loaded
        if not shelf.tell(version, told):
            return
        if serves or told:
            state = State.READY if serves else State.UNAVAILABLE
            self._registry.note(shelf.name, version, state, told)
        if told:
            whole = reason[:LONGEST_REASON]
            log.error("model problem", model=shelf.name, version=version, reason=whole, serves=serves, exc_info=error)

    def _without_roots(self, reason: str) -> str:
        # Clients read it in the index; where on this machine the repository lies is for the log.
        for root in self._loading.roots:
            for folder in {str(root), str(root.resolve())}:
                reason = reason.replace(f"{folder}/", "").replace(f" {folder}", "").replace(folder, root.name)
        return reason


def _dispose(kept: Kept | None) -> None:
    if kept is not None:
        _close(kept.model)


def _close(model: LoadedModel) -> None:
    try:
        model.close()
    except Exception:  # a model's own farewell
        log.exception("closing a model failed", model=model.on_disk.name, version=model.on_disk.version)
    memory.give_back()
