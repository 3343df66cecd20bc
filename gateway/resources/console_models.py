"""GET /console/api/models and /console/api/models/{model}/card: what can be asked, and what somebody wrote about it."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import falcon
import msgspec
from falcon.asgi import Request, Response

from gateway.resources.console_answer import answer
from gateway.v2.models import Models
from gateway.v2.plain import plain
from gateway.workers import Workers
from inference_core.errors import InferenceHubError
from inference_core.names import is_model_name
from inference_core.settings import Predict

CARD = "README.md"
LARGEST_CARD = 64 * 1024
MOST_MODELS = 200


class Version(msgspec.Struct, frozen=True):
    """A version in the repository, its state, the slots that have it, and what it computed so far."""

    version: str
    state: str
    reason: str
    slots: list[int]
    statistics: dict[str, Any] | None


class Model(msgspec.Struct, frozen=True):
    """A model: its versions; signature and configuration are None where no worker can tell."""

    name: str
    versions: list[Version]
    metadata: dict[str, Any] | None
    config: dict[str, Any] | None


class ModelsResource:
    """All models as this gateway process sees them."""

    def __init__(self, models: Models, workers: Workers, defaults: Predict) -> None:
        self._models = models
        self._workers = workers
        self._defaults = (defaults.prompt_model, defaults.features_model)

    async def on_get(self, _: Request, response: Response) -> None:
        """Answer with the models; raises NoWorker."""
        index = await self._models.index(only_ready=False)
        counted = {(one.name, one.version): plain(one) for one in await self._statistics()}
        names = sorted({entry.name for entry in index})[:MOST_MODELS]
        described = await asyncio.gather(*(self._described(name) for name in names))
        versions: dict[str, list[Version]] = {}
        for entry in index:
            slots = self._slots(entry.name, entry.version)
            statistics = counted.get((entry.name, entry.version))
            found = Version(entry.version, entry.state, entry.reason, slots, statistics)
            versions.setdefault(entry.name, []).append(found)
        shown = [Model(name, versions[name], *told) for name, told in zip(names, described, strict=True)]
        answer(response, {"models": shown, "defaults": self._defaults})

    def _slots(self, model: str, version: str) -> list[int]:
        return [slot.number for slot in self._workers.slots if slot.facts(model, version) is not None]

    async def _statistics(self) -> Sequence[Any]:
        try:
            return (await self._models.statistics("", "")).model_stats
        except InferenceHubError:
            return ()

    async def _described(self, name: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        if not self._workers.is_ready(name):
            return None, None
        try:
            metadata, config = await self._models.metadata(name, ""), await self._models.config(name, "")
        except InferenceHubError:
            return None, None
        return plain(metadata), plain(config.config)


class CardResource:
    """A model's README, as text."""

    def __init__(self, repositories: Sequence[Path]) -> None:
        self._repositories = repositories

    async def on_get(self, _: Request, response: Response, model: str) -> None:
        """Answer with the text; 404 where there is none."""
        text = await asyncio.to_thread(self._card, model) if is_model_name(model) else None
        if text is None:
            raise falcon.HTTPNotFound(description="That model has no README.md in its folder.")
        answer(response, {"text": text})

    def _card(self, model: str) -> str | None:
        for repository in self._repositories:
            file = repository / model / CARD
            try:
                if file.resolve().is_relative_to(repository.resolve()):
                    return _text(file.resolve())
            except (OSError, RuntimeError):  # the latter is a loop of links
                continue
        return None


def _text(file: Path) -> str | None:
    with open(file, "rb", opener=_opened) as card:  # Path.open takes no opener
        if not stat.S_ISREG(os.fstat(card.fileno()).st_mode):
            return None
        return card.read(LARGEST_CARD).decode(errors="replace")


def _opened(file: str, flags: int) -> int:
    # A FIFO would keep the thread for good; what has become a link since it was resolved may lead out.
    return os.open(file, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
