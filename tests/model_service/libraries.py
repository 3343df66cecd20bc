"""Repositories of Python models, and libraries that follow them, for the tests of reloading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference_core.deadline import Deadline
from model_service.engine import Engine
from model_service.library import Library
from model_service.placing import Loading
from model_service.registry import Registry
from tests.model_service.repository_tree import PYTHON_TOML
from tests.model_service.worker import call_to, engine_of

ANSWERS = """
import numpy as np, pathlib
class Model:
    def __init__(self, folder, parameters):
        self.answer = {answer}
        self.marks = folder.parents[1] / "closed"
    def predict(self, inputs):
        return {{"class_id": np.full(len(inputs["features"]), self.answer, np.int32)}}
    def close(self):
        with self.marks.open("a") as stream:
            stream.write(f"{{self.answer}} ")
"""


def write_version(root: Path, version: str, source: str, name: str = "m", toml: str = PYTHON_TOML) -> Path:
    """Write a Python model's version, its file in one step, and return that file."""
    folder = root / name / version
    folder.mkdir(parents=True, exist_ok=True)
    if not (root / name / "model.toml").exists():
        (root / name / "model.toml").write_text(toml)
    fresh = folder / ".fresh"
    fresh.write_text(source)
    return fresh.rename(folder / "model.py")


def answering(answer: int) -> str:
    """Return the source of a model that answers each row with that number."""
    return ANSWERS.format(answer=answer)


@dataclass
class Shop:
    """A library over one repository, with the engine that serves its models; `said` is what was announced."""

    root: Path
    registry: Registry
    engine: Engine
    library: Library
    said: list[tuple[str, bool]]

    async def announce(self, model: str, *, is_there: bool) -> None:
        """Note news, as the health service does."""
        if (dict(self.said).get(model, False)) is not is_there:
            self.said.append((model, is_there))

    async def ask(self, version: str = "", name: str = "m") -> int:
        """Return a model's answer to one row."""
        rows = {"features": np.zeros((1, 1), np.float32)}
        answer = await self.engine.infer(name, version, rows, Deadline.after(30), call_to())
        return int(answer.outputs["class_id"][0])

    def states(self) -> dict[tuple[str, str], str]:
        """Return the state of every version that is known."""
        return {(name, version): standing.state.value for name, version, standing in self.registry.standings()}

    def reason(self, version: str = "1", name: str = "m") -> str:
        """Return what is said of a version."""
        return {(one, which): standing.reason for one, which, standing in self.registry.standings()}[name, version]

    def closed(self) -> list[str]:
        """Return the answers of the models that were closed, in order."""
        file = self.root / "closed"
        return file.read_text().split() if file.exists() else []

    async def until(self, condition: Callable[[], bool]) -> None:
        """Look at the disk again and again until a condition holds."""
        async with asyncio.timeout(10):
            while not condition():
                await self.library._glance()
                await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.01)


@asynccontextmanager
async def shop(root: Path, **loading: Any) -> AsyncIterator[Shop]:
    """Open a library over a repository; nothing watches it but `Shop.until`."""
    registry = Registry()
    engine = engine_of(registry)
    chosen = Loading(**{"roots": (root,), "settle_seconds": 0.05, **loading})
    said: list[tuple[str, bool]] = []
    made = Shop(root, registry, engine, Library(registry, engine, chosen, _nobody), said)
    made.library._announce = made.announce
    await made.library.open()
    try:
        yield made
    finally:
        await made.library.close()
        await engine.close()
        registry.close()


async def _nobody(model: str, *, is_there: bool) -> None:
    """Be replaced."""
