"""Models that a row of the catalogue brings into the bench's repository, and takes away again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests import web
from tests.e2e.catalogue_bench import Bench
from tests.waiting import wait_for

SETTLED = {"READY", "UNAVAILABLE"}
Write = Callable[[Path], None]
"""Writes a model's folder into a repository."""


def written(name: str, description: str, source: str) -> Write:
    """Return what writes a model of the python runtime."""

    def write(repository: Path) -> None:
        version = repository / name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(source)
        (version.parent / "model.toml").write_text(description)

    return write


@contextmanager
def guests(bench: Bench, models: Mapping[str, Write]) -> Iterator[None]:
    """Have these models, by name, loaded or refused by the workers."""
    repository = bench.system.run_folder.parent / "models"
    try:
        for write in models.values():
            write(repository)
        wait_for(lambda: all(_states(bench, name) <= SETTLED and _states(bench, name) for name in models), "the guests")
        yield
    finally:
        for name in models:
            shutil.rmtree(repository / name, ignore_errors=True)
            web.post(f"{bench.system.url}/v2/repository/models/{name}/unload", timeout=30)


def _states(bench: Bench, name: str) -> set[str]:
    index = web.post(f"{bench.system.url}/v2/repository/index").raise_for_status().json()
    return {one["state"] for one in index if one["name"] == name}
