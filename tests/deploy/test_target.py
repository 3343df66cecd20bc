"""The processes of a system, found by what they do."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.target import Target, signal_if_there
from deploy.trial import Trial
from otel import processes
from tests.waiting import wait_for


@pytest.fixture
def target() -> Iterator[Target]:
    """Stand in for supervisord with this very process, which has no such children."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "supervisord.pid").write_text(f"{os.getpid()}\n")
        trial = Trial("http://127.0.0.1:1", 1, 2, 3, folder, {})
        yield Target(trial, 2, 2, random.Random(1))  # noqa: S311  # no secret


def test_programs_are_told_by_their_module_not_by_an_argument(target: Target) -> None:
    """A child is a worker when it runs `-m model_service`, not when its path or an argument says so."""
    own = [sys.executable, "-m", "timeit", "-n", "1", "import time; time.sleep(60)"]
    with subprocess.Popen(own, stdout=subprocess.DEVNULL) as child:
        wait_for(lambda: child.pid in processes.children(os.getpid()), "the child")
        assert (target.workers(), target.gateways(), target.controller()) == ([], [], None)
        child.kill()


def test_a_signal_goes_to_the_process_that_was_meant() -> None:
    """A process of another age with that pid is left alone."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        since = processes.started(child.pid)
        assert not signal_if_there(child.pid, signal.SIGKILL, since - 1)
        assert child.poll() is None
        assert signal_if_there(child.pid, signal.SIGKILL, since)
        assert child.wait() == -signal.SIGKILL
    assert not signal_if_there(child.pid, signal.SIGKILL, since)
