"""One process owns a slot."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from inference_core.errors import ConfigurationError
from model_service.slot import SlotLock
from tests.waiting import wait_for


def test_a_slot_has_one_owner(tmp_path: Path) -> None:
    """A second owner is refused with the slot's name; after a release the next one gets it."""
    path = tmp_path / "inference-3.lock"
    first = SlotLock(path)
    for _ in range(3):
        with pytest.raises(ConfigurationError, match=r"Another worker holds inference-3\.lock"):
            SlotLock(path)
    first.release()
    SlotLock(path).release()


def test_slots_do_not_meet(tmp_path: Path) -> None:
    """Different slots have different owners."""
    locks = [SlotLock(tmp_path / f"inference-{slot}.lock") for slot in range(2)]
    assert len(list(tmp_path.iterdir())) == 2
    for lock in locks:
        lock.release()


def test_a_lock_is_private(tmp_path: Path) -> None:
    """Nobody but the owner of the process can open a lock."""
    lock = SlotLock(tmp_path / "inference-0.lock")
    assert stat.S_IMODE((tmp_path / "inference-0.lock").stat().st_mode) == 0o600
    lock.release()


@pytest.mark.e2e
def test_a_killed_owner_leaves_a_free_slot(tmp_path: Path) -> None:
    """The slot of a process that was killed is free, whatever it left behind."""
    path = tmp_path / "inference-0.lock"
    program = (
        "import sys, pathlib; from model_service.slot import SlotLock; "
        "lock = SlotLock(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"held\n"
        with pytest.raises(ConfigurationError):
            SlotLock(path)
        owner.kill()
        wait_for(lambda: owner.poll() is not None, "the end of the owner")
    SlotLock(path).release()
