"""One running system for all end-to-end tests of a module."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.system import System


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder, so that `-m e2e` selects it."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """Start the system once for a module."""
    # pytest's own folders can be too long for a Unix socket's path.
    with tempfile.TemporaryDirectory(prefix="hub-") as folder:
        running = System(Path(folder))
        try:
            running.start()
            yield running
        finally:
            running.stop()
