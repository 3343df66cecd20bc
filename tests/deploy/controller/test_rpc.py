"""Calls to a real supervisord end in time, and a failed one never spoils the next."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from supervisor.states import ProcessStates

from deploy.controller.rpc import Process, Refused, Supervisord, Unreachable
from tests.waiting import wait_for

TIMEOUT = 0.3
CONFIGURATION = """
[supervisord]
nodaemon=true
user=%(user)s
logfile=%(folder)s/supervisord.log
pidfile=%(folder)s/supervisord.pid
childlogdir=%(folder)s
[unix_http_server]
file=%(folder)s/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:sleeper]
command=sleep 60
startsecs=0
[program:leaver]
; One that leaves at once may be gone before supervisord answers, which calls that a failed start.
command=sleep 0.3
startretries=9
autostart=false
[program:missing]
command=/nowhere/at/all
autostart=false
[program:unwritable]
command=sleep 60
stdout_logfile=%(folder)s/logs/unwritable.log
autostart=false
"""


@dataclass
class Running:
    """A supervisord and a client of it."""

    pid: int
    client: Supervisord
    folder: Path

    def program(self, name: str) -> Process:
        """Return what supervisord says of a program."""
        return next(found for found in asyncio.run(self.client.processes()) if found.name == name)


def answers(client: Supervisord) -> bool:
    """Tell whether supervisord answers."""
    try:
        return bool(asyncio.run(client.processes()))
    except Unreachable:
        return False


@pytest.fixture
def running() -> Iterator[Running]:
    """Start a supervisord of its own with small programs, and leave none of them behind."""
    with tempfile.TemporaryDirectory(prefix="hub-", dir="/tmp") as folder:
        file = Path(folder) / "supervisord.conf"
        (Path(folder) / "logs").mkdir()
        file.write_text(CONFIGURATION % {"folder": folder, "user": os.getuid()})
        program = Path(sys.executable).parent / "supervisord"
        with subprocess.Popen([program, "-c", file], stdout=subprocess.DEVNULL) as process:
            client = Supervisord(Path(folder) / "supervisor.sock", TIMEOUT)
            wait_for(lambda: answers(client), "supervisord")
            yield Running(process.pid, client, Path(folder))
            client.close()
            process.send_signal(signal.SIGCONT)
            process.terminate()


def test_a_stopped_supervisord_costs_one_time_out_and_no_threads(running: Running) -> None:
    """Each call ends within its time-out, threads do not pile up, and after SIGCONT the same client goes on."""
    os.kill(running.pid, signal.SIGSTOP)
    before, threads = time.monotonic(), threading.active_count()
    for _ in range(3):
        assert not answers(running.client)
    assert time.monotonic() - before < 3 * TIMEOUT + 1
    assert threading.active_count() <= threads + 1
    os.kill(running.pid, signal.SIGCONT)
    wait_for(lambda: answers(running.client), "an answer after SIGCONT", seconds=3)


def test_a_supervisord_that_is_gone_is_unreachable(tmp_path: Path) -> None:
    """Without a socket the call says so at once."""
    client = Supervisord(tmp_path / "supervisor.sock")
    with pytest.raises(Unreachable, match="No such file"):
        asyncio.run(client.processes())
    client.close()


def test_a_start_that_makes_no_sense_is_refused(running: Running) -> None:
    """Supervisord's fault is an error of its own, and the connection stays good."""
    wait_for(lambda: running.program("sleeper").is_running, "the sleeper")
    with pytest.raises(Refused, match="ALREADY_STARTED"):
        asyncio.run(running.client.start("sleeper"))
    assert running.program("sleeper").pid


def test_a_program_in_backoff_is_started_at_once(running: Running) -> None:
    """`start_again` ends the pause before supervisord's next try, and one that was stopped stays stopped."""
    asyncio.run(running.client.start("leaver"))
    wait_for(lambda: running.program("leaver").state == ProcessStates.BACKOFF, "a backoff")
    asyncio.run(running.client.start_again("leaver"))
    assert running.program("leaver").state in {ProcessStates.STARTING, ProcessStates.BACKOFF}


def test_a_program_that_was_stopped_meanwhile_stays_stopped(running: Running) -> None:
    """Between the look and the call a person may have stopped it."""
    asyncio.run(running.client.start_again("leaver"))
    wait_for(lambda: running.program("leaver").state == ProcessStates.STOPPED, "a stop")


def test_a_program_that_was_stopped_stays_stopped_when_its_start_fails(running: Running) -> None:
    """A failed start says why, and leaves nothing that supervisord would try again."""
    (running.folder / "logs").rmdir()
    with pytest.raises(Refused, match=r"^SPAWN_ERROR: unwritable$"):
        asyncio.run(running.client.start_again("unwritable"))
    assert running.program("unwritable").state == ProcessStates.STOPPED


def test_a_start_that_cannot_begin_says_why(running: Running) -> None:
    """Whether a program waits or was stopped, what is wrong with its command is told and nothing else."""
    with pytest.raises(Refused, match=r"^NO_FILE"):
        asyncio.run(running.client.start_again("missing"))
    assert running.program("missing").state == ProcessStates.STOPPED
