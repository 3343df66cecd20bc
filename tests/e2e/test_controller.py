"""What the controller does for the real system: quick respawns, hung workers, programs that were given up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.controller.history import FILE, recorded
from deploy.controller.journal import Exit
from inference_core.settings import CHECKOUT
from tests.e2e.system import System
from tests.waiting import wait_for

PROMPT = '{"prompt": "fine"}'
PROBING = {"probe_interval": 0.2, "probe_timeout": 0.3}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """Start a system with impatient probes and a model repository of its own."""
    with tempfile.TemporaryDirectory(prefix="hub-") as folder:
        repository = Path(folder) / "models"
        shutil.copytree(CHECKOUT / "model_service" / "models", repository)
        running = System(Path(folder), controller=PROBING, inference={"repository": str(repository)})
        try:
            running.start()
            wait_for(lambda: running.control("pid", "controller").strip() not in {"", "0"}, "the controller")
            yield running
        finally:
            running.stop()


def pid_of(system: System, program: str) -> int:
    """Return a program's pid, 0 while it is down."""
    return int(system.control("pid", program).strip())


def exits_of(system: System, pid: int) -> list[Exit]:
    """Return what is recorded of one process, waiting for it."""
    return wait_for(lambda: [found for found in recorded(system.run_folder) if found.pid == pid], f"the exit of {pid}")


def is_back(system: System, program: str, before: int) -> Callable[[], bool]:
    """Return a condition: the program runs with another pid."""
    return lambda: pid_of(system, program) not in {0, before}


def test_a_killed_worker_is_back_at_once_and_recorded_once(system: System) -> None:
    """SIGKILL costs a worker its start time and no wait, twice in a row too, and leaves one record each."""
    for _ in range(2):
        pid = pid_of(system, "inference:inference-0")
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        wait_for(is_back(system, "inference:inference-0", pid), "a respawn", seconds=5)
        assert time.monotonic() - began < 1.0
        (found,) = exits_of(system, pid)
        assert (found.process, found.slot, found.signal, found.code) == ("inference-0", 0, "SIGKILL", None)
        assert (found.expected, found.asked) == (False, False)
        assert found.uptime is not None
        system.wait_until_ready()


def test_a_stopped_worker_is_killed_and_replaced(system: System) -> None:
    """A worker that is alive and answers nothing is back within seconds, and the record says why it was killed."""
    wait_for(lambda: "RUNNING" in system.control("status", "inference:inference-1"), "RUNNING")
    pid = pid_of(system, "inference:inference-1")
    os.kill(pid, signal.SIGSTOP)
    wait_for(is_back(system, "inference:inference-1", pid), "a replacement", seconds=5)
    (found,) = exits_of(system, pid)
    assert found.signal == "SIGKILL"
    assert (found.reason or "").startswith("hung: no answer to 3 probes")
    system.wait_until_ready()


def test_the_system_outlives_its_controller(system: System) -> None:
    """While the controller is killed predictions go on, and the next one misses and repeats nothing."""
    before = recorded(system.run_folder)
    controller, worker = pid_of(system, "controller"), pid_of(system, "inference:inference-0")
    os.kill(controller, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    assert system.curl("/predict", PROMPT).status == 200
    assert len(exits_of(system, controller)) == 1
    assert len(exits_of(system, worker)) == 1
    after = recorded(system.run_folder)
    assert after[: len(before)] == before
    assert len({found.key for found in after}) == len(after)
    system.wait_until_ready()


def test_status_shows_the_exits(system: System) -> None:
    """`python -m deploy status` counts restarts by program and shows the last exits."""
    pid = pid_of(system, "inference:inference-0")
    os.kill(pid, signal.SIGTERM)
    exits_of(system, pid)
    shown = system.deploy("status").stdout
    assert "Restarts that nobody asked for, in the last hour: " in shown
    assert "inference-0 exit status 0" in shown
    system.wait_until_ready()


def test_a_worker_that_could_not_start_is_brought_back(system: System) -> None:
    """A broken repository makes a worker FATAL with its reason on record; mended, the worker returns by itself."""
    file = system.run_folder.parent / "models" / "digits" / "model.toml"
    text = file.read_text()
    file.write_text("instances = 'many'\n")
    os.kill(pid_of(system, "inference:inference-1"), signal.SIGKILL)
    wait_for(lambda: "FATAL" in system.control("status", "inference:inference-1"), "FATAL", seconds=20)
    last = recorded(system.run_folder)[-1]
    assert (last.process, last.code) == ("inference-1", 3)
    assert "digits" in (last.reason or "")
    assert system.curl("/predict", PROMPT).status == 200
    file.write_text(text)
    wait_for(lambda: pid_of(system, "inference:inference-1"), "another start", seconds=5)
    system.wait_until_ready()
    assert {"given up by supervisord", "crash loop", "started again"} <= events(system)


def test_a_worker_that_a_person_stopped_stays_stopped(system: System) -> None:
    """The controller looks at it many times and leaves it, and its end is on record as asked for."""
    pid = pid_of(system, "inference:inference-1")
    system.control("stop", "inference:inference-1")
    (found,) = exits_of(system, pid)
    assert (found.asked, found.expected) == (True, True)
    # Whatever the controller does about slot 0 it does after it has seen slot 1 stopped.
    killed = pid_of(system, "inference:inference-0")
    os.kill(killed, signal.SIGKILL)
    wait_for(is_back(system, "inference:inference-0", killed), "a respawn")
    assert "STOPPED" in system.control("status", "inference:inference-1")


def test_the_controller_stops_quickly_and_as_asked(system: System) -> None:
    """SIGTERM ends it with exit status 0, which its successor records with the history before it."""
    pid = pid_of(system, "controller")
    began = time.monotonic()
    system.control("restart", "controller")
    (found,) = exits_of(system, pid)
    assert (found.process, found.code, found.asked) == ("controller", 0, True)
    assert time.monotonic() - began < 5
    lines = (system.run_folder / FILE).read_text().splitlines()
    assert all(json.loads(line) for line in lines)


def events(system: System) -> set[str]:
    """Return the events in the controller's log."""
    lines = (system.run_folder / "logs" / "controller.log").read_text().splitlines()
    return {json.loads(line)["event"] for line in lines}
