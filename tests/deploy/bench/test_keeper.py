"""The keeper answers for every process that comes of its command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.waiting import wait_for

KEEPER = [sys.executable, "-m", "deploy.bench.keeper"]
# A daemon: its parent leaves at once, and SIGTERM does not impress it.
DAEMON = 'setsid bash -c "trap : TERM; echo \\$\\$ > $0; while :; do sleep 0.1; done" & disown; exit 0'


def started(file: Path, script: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start a keeper on a shell script and return it with the pid that the script's daemon wrote."""
    keeper = subprocess.Popen([*KEEPER, "bash", "-c", script.replace("$0", str(file))])
    return keeper, wait_for(lambda: int(file.read_text() or 0) if file.exists() else 0, "the daemon's start")


def test_a_stop_ends_an_orphan(tmp_path: Path) -> None:
    """A daemon that left its parent is adopted, counted and ended with the rest."""
    keeper, daemon = started(tmp_path / "pid", DAEMON.replace("trap : TERM; ", ""))
    wait_for(lambda: psutil.Process(daemon).ppid() == keeper.pid, "adoption")
    keeper.terminate()
    assert keeper.wait(10) == 0
    assert not psutil.pid_exists(daemon)


def test_the_death_of_the_starter_ends_all(tmp_path: Path) -> None:
    """Not even SIGKILL of the benchmark leaves a server behind."""
    file = tmp_path / "pid"
    script = DAEMON.replace("trap : TERM; ", "").replace("$0", str(file))
    code = f"import subprocess; subprocess.run({[*KEEPER, 'bash', '-c', script]!r})"
    starter = subprocess.Popen([sys.executable, "-c", code])
    daemon = wait_for(lambda: int(file.read_text() or 0) if file.exists() else 0, "the daemon's start")
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    wait_for(lambda: not psutil.pid_exists(daemon), "the daemon's end")


def test_a_command_that_fails_is_told() -> None:
    """The keeper leaves with the status of a command that could not run on."""
    assert subprocess.run([*KEEPER, "bash", "-c", "exit 7"], check=False).returncode == 7
