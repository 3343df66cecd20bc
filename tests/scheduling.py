"""Which tests may run beside each other where `pytest -n` starts several processes."""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling

MEASURED = (
    "tests/deploy",
    "tests/e2e/test_catalogue.py",
    "tests/e2e/test_floods.py",
    "tests/e2e/test_hostile_bodies.py",
    "tests/e2e/test_metrics.py",
    "tests/e2e/test_trace.py",
    "tests/e2e/test_traffic.py",
)
"""They load systems or ask how quick these are, so only one of them runs at a time."""

SYSTEMS = "tests/e2e"
"""The others that start systems; one of these beside one of those is what a machine of two cores carries."""


class FilesAndSystems(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Keeps the tests of a file together, and those that start systems, with whatever fixtures they share.

    xdist's own `loadgroup` does nothing under pytest 9.2: it marks a test by an attribute that is not looked at there.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = PurePosixPath(nodeid.partition("::")[0])
        if any(file.is_relative_to(place) for place in MEASURED):
            return "measured"
        return "systems" if file.is_relative_to(SYSTEMS) else str(file)
