"""A worker that outlived its supervisord gives its slot back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.orphans import end_orphans, free_slot
from model_service.slot import SlotLock

HOLD = "import sys, time; from pathlib import Path; from model_service.slot import SlotLock; "
HOLD += "lock = SlotLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Start a process that holds slot 1 of a run folder, marked as supervised unless told otherwise, and stop it."""
    marks = {
        "SUPERVISOR_ENABLED": "1",
        "SUPERVISOR_PROCESS_NAME": "inference-1",
        "INFERENCEHUB_RUN": str(tmp_path),
    }
    environment = {**os.environ, **getattr(request, "param", marks)}
    command = [sys.executable, "-c", HOLD, str(tmp_path / "inference-1.lock")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGSTOP)
        yield process
        process.kill()


def test_a_stopped_orphan_is_killed_and_its_slot_is_free(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """What no SIGTERM can end is ended, and the next worker gets the lock."""
    assert free_slot(tmp_path, 1, supervised=()) == holder.pid
    assert holder.wait(timeout=5) == -signal.SIGKILL
    SlotLock(tmp_path / "inference-1.lock").release()


def test_a_supervised_worker_is_no_orphan(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """The worker that supervisord runs in the slot is left alone."""
    assert free_slot(tmp_path, 1, supervised={holder.pid}) is None
    assert holder.poll() is None


@pytest.mark.parametrize("holder", [{}], indirect=True)
def test_what_a_person_started_is_no_orphan(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """A worker that no supervisord started is left alone."""
    assert free_slot(tmp_path, 1, supervised=()) is None
    assert holder.poll() is None


def test_a_free_slot_has_no_orphan(tmp_path: Path) -> None:
    """Neither a lock file that nobody holds nor a missing one names a process."""
    assert free_slot(tmp_path, 1, supervised=()) is None
    SlotLock(tmp_path / "inference-1.lock").release()
    assert free_slot(tmp_path, 1, supervised=()) is None


def test_a_start_ends_what_a_killed_supervisord_left(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """Orphans get their time to leave, are killed after it, and the start says so."""
    said: list[str] = []
    end_orphans(tmp_path, 0.1, said.append)
    assert said == ["Ending 1 processes that outlived their supervisord ..."]
    assert holder.wait(timeout=5) == -signal.SIGKILL


def test_orphans_of_another_run_folder_are_left_alone(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """Two systems on one machine never end each other's programs."""
    end_orphans(tmp_path / "other", 0.1, print)
    assert holder.poll() is None
