"""All models of a worker, in memory as on disk: at the start, on request, and by looking again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import structlog

from inference_core.errors import InvalidInput, UnknownModel
from model_service.engine import Engine
from model_service.placing import UNLOADED, Loading, Placing
from model_service.registry import Registry
from model_service.repository import FoundModel, Scan, scan
from model_service.shelf import Shelf
from model_service.threads import in_thread

SCAN_SECONDS = 60.0
CLOSE_SECONDS = 10.0

log = structlog.get_logger()


class Announce(Protocol):
    """Is told of a model by name whether it can be asked."""

    async def __call__(self, model: str, *, is_there: bool) -> None:
        """Pass it on."""


class Library:
    """Keeps a registry in step with the repositories; used on the event loop alone."""

    def __init__(self, registry: Registry, engine: Engine, loading: Loading, announce: Announce) -> None:
        self._registry = registry
        self._loading = loading
        self._announce = announce
        self._placing = Placing(registry, engine, loading)
        self._shelves: dict[str, Shelf] = {}
        self._told: tuple[str, ...] = ()

    async def open(self) -> None:
        """Load everything that is there; what cannot be loaded keeps nothing else from it."""
        await self.look_now()
        self._registry.open()

    async def look_now(self) -> None:
        """Bring every model up to date, also with what has just changed, and try again what failed."""
        models = (await self._scan()).models
        shelves = [self._shelf(name) for name in {**models, **self._shelves}]
        await asyncio.gather(*[self._work(shelf, models.get(shelf.name), eager=True) for shelf in shelves])

    async def watch(self) -> None:
        """Look again and again; a model that takes long to load holds up nothing but itself."""
        while self._loading.poll_seconds:
            await asyncio.sleep(self._loading.poll_seconds)
            try:
                await self._glance()
            except Exception:  # whatever happens to the disk, watching goes on
                log.exception("looking at the repositories failed")

    async def load(self, name: str) -> None:
        """Load a model, or what has changed of it; returns once it serves, at once where it does already.

        Raises UnknownModel where no repository has it, InvalidInput with the reason where it cannot be loaded or was
        unloaded meanwhile.
        """
        found = (await self._scan()).models.get(name)
        if found is None:
            raise UnknownModel(f"No repository has a model of that name. Models here: {', '.join(self._shelves)}.")
        shelf = self._shelf(name)
        shelf.is_unloaded = False
        await asyncio.shield(self._placing.spawn(self._work(shelf, found, eager=True)))
        problems = [reason for reason in shelf.problems.values() if reason]
        if problems or not shelf.loaded:
            raise InvalidInput(f"Model {name} cannot be loaded: {(problems or [UNLOADED])[0]}")

    async def unload(self, name: str) -> None:
        """Take a model out of service at once, and return when its calls have ended. It stays out until `load`.

        Raises UnknownModel for a name that no repository ever had.
        """
        shelf = self._shelves.get(name)
        if shelf is None:
            raise UnknownModel(f"There is no model of that name. Models here: {', '.join(self._shelves)}.")
        shelf.is_unloaded = True
        dropped = self._placing.drop_all(shelf)
        dropped.append(self._placing.spawn(self._announcing(shelf, partial(self._placing.withdraw, shelf))))
        await asyncio.shield(asyncio.gather(*dropped))

    async def close(self) -> None:
        """Stop loading, and wait a little for what is being freed."""
        if self._placing.tasks:
            await asyncio.wait(self._placing.tasks, timeout=CLOSE_SECONDS)
        for task in self._placing.tasks:
            task.cancel()

    async def _glance(self) -> None:
        models = (await self._scan()).models
        for name in {**models, **self._shelves}:
            shelf = self._shelf(name)
            if not shelf.is_busy:
                shelf.is_busy = True
                self._placing.spawn(self._work(shelf, models.get(name), eager=False))

    async def _work(self, shelf: Shelf, found: FoundModel | None, *, eager: bool) -> None:
        shelf.is_busy = True
        try:
            await self._announcing(shelf, partial(self._placing.bring_up, shelf, found, eager=eager))
        finally:
            shelf.is_busy = False

    async def _announcing(self, shelf: Shelf, change: Callable[[], Awaitable[None]]) -> None:
        await self._announce(shelf.name, is_there=self._registry.has(shelf.name))
        await change()
        await self._announce(shelf.name, is_there=self._registry.has(shelf.name))

    async def _scan(self) -> Scan:
        found = await in_thread("scan", partial(scan, self._loading.roots, self._loading.threads), SCAN_SECONDS)
        problems = (*found.problems, *found.warnings)
        for problem in problems:
            if problem not in self._told:
                log.warning("repository", problem=problem)
        self._told = problems
        return found

    def _shelf(self, name: str) -> Shelf:
        return self._shelves.setdefault(name, Shelf(name))
