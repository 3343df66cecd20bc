"""What holds for every test."""

from __future__ import annotations

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import Scheduling

from tests.scheduling import FilesAndSystems

# A slow machine is not a failing program: pytest's own timeout ends what hangs.
settings.register_profile("house", deadline=None, max_examples=50)
settings.load_profile("house")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Have the tests of several processes handed out by `FilesAndSystems`, whatever `--dist` says."""
    return FilesAndSystems(config, log)
