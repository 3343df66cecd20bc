"""Which tests may run beside each other where `pytest -n` starts several processes."""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling

SYSTEMS = ("tests/e2e", "tests/deploy")
"""Their tests start whole systems, of which a machine of two cores carries one at a time."""


class FilesAndSystems(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Keeps the tests of a file together, and all those that start systems, with whatever fixtures they share.

    xdist's own `loadgroup` does nothing under pytest 9.2: it marks a test by an attribute that is not looked at there.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = PurePosixPath(nodeid.partition("::")[0])
        return "systems" if any(file.is_relative_to(folder) for folder in SYSTEMS) else str(file)
