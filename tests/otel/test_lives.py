"""How programs live and end, read from the run folder by anyone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from otel.lives import EXITS, STATE, Exit, Life, recorded, restarts, running

NOON = "2026-01-02T12:00:00.000+00:00"


def test_only_children_of_this_supervisord_run(tmp_path: Path) -> None:
    """A pid that is somebody else's by now is not told; memory and age of a true one are."""
    program = "print('up', flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        (tmp_path / "supervisord.pid").write_text(f"{os.getpid()}\n")
        lives = {"inference-0": Life(child.pid, 0.0), "inference-1": Life(1, 0.0)}
        (tmp_path / STATE).write_bytes(msgspec.json.encode({"lives": lives, "verdicts": {"7": "hung"}}))
        (found,) = running(tmp_path)
        assert (found.program, found.pid) == ("inference-0", child.pid)
        assert found.memory_bytes > 1024 * 1024
        assert found.uptime > 0
    finally:
        child.communicate(b"\n")


def test_without_a_controller_nothing_is_known(tmp_path: Path) -> None:
    """An empty run folder, and one with half a file, have no programs and no exits."""
    assert running(tmp_path) == []
    (tmp_path / "supervisord.pid").write_text(str(os.getpid()))
    (tmp_path / STATE).write_bytes(b'{"lives": {')
    assert running(tmp_path) == []
    assert recorded(tmp_path) == []


def test_restarts_are_the_ends_that_nobody_asked_for(tmp_path: Path) -> None:
    """An asked stop and an end before the time in question do not count; a torn line is left out."""
    exits = [
        Exit(NOON, "inference-0", signal="SIGKILL"),
        Exit(NOON, "inference-0", code=0, asked=True),
        Exit("2026-01-01T12:00:00.000+00:00", "inference-0", signal="SIGKILL"),
        Exit(NOON, "controller", code=1),
    ]
    (tmp_path / EXITS).write_bytes(b"\n".join(map(msgspec.json.encode, exits)) + b'\n{"at": "20')
    assert recorded(tmp_path) == exits
    assert restarts(exits, exits[2].seconds) == {"inference-0": 1, "controller": 1}
