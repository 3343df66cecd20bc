"""What holds for every test."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent
SYSTEMS = (TESTS / "e2e", TESTS / "deploy")
"""Their tests start whole systems, of which this machine may have one at a time: some measure how fast they are."""

# A slow machine is not a failing program: pytest's own timeout ends what hangs.
settings.register_profile("house", deadline=None, max_examples=50)
settings.load_profile("house")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file together, and those of all systems, where several processes run tests."""
    for item in items:
        starts_systems = any(folder in item.path.parents for folder in SYSTEMS)
        item.add_marker(pytest.mark.xdist_group("systems" if starts_systems else str(item.path.relative_to(TESTS))))
