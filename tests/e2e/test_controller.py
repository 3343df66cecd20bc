"""What the controller does for the real system: quick respawns, hung workers, programs that were given up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.controller.journal import Lives, read
from inference_core.settings import CHECKOUT
from otel.lives import Exit, recorded
from tests.e2e.system import System
from tests.waiting import wait_for

PROMPT = '{"prompt": "fine"}'
SUPERVISORDS_PAUSE = 0.9  # it takes 1 to 2 s to start a worker again when nobody wakes it
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
            wait_for(lambda: "watching" in events(running), "the controller")
            yield running
        finally:
            running.stop()


def log_of(system: System) -> str:
    """Return supervisord's log. Asking supervisord itself would wake it, which is the controller's work."""
    return (system.run_folder / "logs" / "supervisord.log").read_text()


def pid_of(system: System, process: str) -> int:
    """Return a program's pid, 0 while it is down."""
    lives: Lives = {}
    for line in log_of(system).splitlines():
        lives, _ = read(lives, line)
    return lives[process].pid if process in lives else 0


def exits_of(system: System, pid: int) -> list[Exit]:
    """Return what is recorded of one process, waiting for it."""
    return wait_for(lambda: [found for found in recorded(system.run_folder) if found.pid == pid], f"the exit of {pid}")


def respawned(system: System, process: str, before: int) -> None:
    """Wait until a program runs with another pid."""
    wait_for(lambda: pid_of(system, process) not in {0, before}, f"a respawn of {process}")


def seconds_down(system: System, process: str, pid: int) -> float:
    """Return how long a program was down after the end of that process."""
    life: Lives = {}
    ended: Exit | None = None
    for line in log_of(system).splitlines():
        life, exits = read(life, line)
        ended = next((found for found in exits if found.pid == pid), ended)
        if ended and process in life:
            return life[process].since - ended.seconds
    raise AssertionError(f"{process} was not started again")


def test_a_killed_worker_is_back_at_once_and_recorded_once(system: System) -> None:
    """SIGKILL costs a worker no pause, twice in a row too, and leaves one record each."""
    for _ in range(2):
        pid = pid_of(system, "inference-0")
        wait_for(lambda: seen_serving(system, pid), "the controller's sight of it")  # noqa: B023  # awaited in the loop
        os.kill(pid, signal.SIGKILL)
        respawned(system, "inference-0", pid)
        assert seconds_down(system, "inference-0", pid) < SUPERVISORDS_PAUSE
        (found,) = exits_of(system, pid)
        assert (found.process, found.slot, found.signal, found.code) == ("inference-0", 0, "SIGKILL", None)
        assert (found.expected, found.asked) == (False, False)
        assert found.uptime is not None
        system.wait_until_ready()


def test_a_stopped_worker_is_killed_and_replaced(system: System) -> None:
    """A worker that is alive and answers nothing is replaced, and the record says why it was killed."""
    pid = pid_of(system, "inference-1")
    os.kill(pid, signal.SIGSTOP)
    respawned(system, "inference-1", pid)
    (found,) = exits_of(system, pid)
    assert found.signal == "SIGKILL"
    assert (found.reason or "").startswith("hung: no answer to ")
    system.wait_until_ready()


def test_the_system_outlives_its_controller(system: System) -> None:
    """While the controller is killed predictions go on, and the next one misses and repeats nothing."""
    before = recorded(system.run_folder)
    controller, worker = pid_of(system, "controller"), pid_of(system, "inference-0")
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
    pid = pid_of(system, "inference-0")
    os.kill(pid, signal.SIGTERM)
    exits_of(system, pid)
    shown = system.deploy("status").stdout
    assert "Restarts that nobody asked for, in the last hour: " in shown
    assert "inference-0 exit status 0" in shown
    system.wait_until_ready()


def test_a_worker_that_could_not_start_is_brought_back(system: System) -> None:
    """Broken settings make a worker FATAL with its reason on record; mended, the worker returns by itself."""
    file = system.settings_file
    text = file.read_text()
    file.write_text(text + "[nonsense]\n")
    os.kill(pid_of(system, "inference-1"), signal.SIGKILL)
    wait_for(lambda: "gave up: inference-1 entered FATAL" in log_of(system), "FATAL", seconds=40)
    wait_for(lambda: "given up by supervisord" in events(system), "the controller's word on it")
    last = recorded(system.run_folder)[-1]
    assert (last.process, last.code) == ("inference-1", 3)
    assert "nonsense" in (last.reason or "")
    assert system.curl("/predict", PROMPT).status == 200
    file.write_text(text)
    wait_for(lambda: pid_of(system, "inference-1"), "another start")
    system.wait_until_ready()
    assert {"crash loop", "started again"} <= events(system)


def test_a_worker_that_a_person_stopped_stays_stopped(system: System) -> None:
    """The controller looks at it and leaves it, and its end is on record as asked for."""
    pid = pid_of(system, "inference-1")
    system.control("stop", "inference:inference-1")
    (found,) = exits_of(system, pid)
    assert (found.asked, found.expected) == (True, True)
    # Whatever the controller does about slot 0 it does after it has seen slot 1 stopped.
    killed = pid_of(system, "inference-0")
    os.kill(killed, signal.SIGKILL)
    exits_of(system, killed)
    respawned(system, "inference-0", killed)
    assert "STOPPED" in system.control("status", "inference:inference-1")


def state_of(system: System, program: str) -> str:
    """Return what supervisord says of a program, such as RUNNING."""
    return system.control("status", program).split()[1]


def test_a_trace_store_whose_port_was_taken_is_brought_back(system: System) -> None:
    """While another has its port the store is FATAL and left alone; soon after it is free, the store serves."""
    system.control("stop", "tracestore")
    with socket.create_server(("127.0.0.1", system.jaeger_ports["OTLP_GRPC"])):
        system.control("start", "tracestore")
        wait_for(lambda: state_of(system, "tracestore") == "FATAL", "FATAL", seconds=40)
        given_up = len([found for found in recorded(system.run_folder) if found.process == "tracestore"])
        # A worker needs longer to start than the controller's first pause lasts.
        killed = pid_of(system, "inference-0")
        os.kill(killed, signal.SIGKILL)
        respawned(system, "inference-0", killed)
        wait_for(lambda: seen_serving(system, pid_of(system, "inference-0")), "the controller's sight of it")
        assert len([found for found in recorded(system.run_folder) if found.process == "tracestore"]) == given_up
    wait_for(lambda: state_of(system, "tracestore") == "RUNNING", "the store's return", seconds=40)


def test_a_trace_store_that_a_person_stopped_stays_stopped(system: System) -> None:
    """With two commands its place is Jaeger's or nobody's, and the controller leaves it so."""
    system.control("stop", "tracestore")
    killed = pid_of(system, "inference-0")
    os.kill(killed, signal.SIGKILL)
    exits_of(system, killed)
    respawned(system, "inference-0", killed)
    assert state_of(system, "tracestore") == "STOPPED"
    system.control("start", "tracestore")
    assert state_of(system, "tracestore") == "RUNNING"


def test_the_controller_stops_as_asked(system: System) -> None:
    """SIGTERM ends it with exit status 0 and no SIGKILL, which its successor records."""
    pid = pid_of(system, "controller")
    system.control("restart", "controller")
    (found,) = exits_of(system, pid)
    assert (found.process, found.code, found.asked) == ("controller", 0, True)


def lines_of(system: System) -> list[dict[str, Any]]:
    """Return the controller's log."""
    return [json.loads(line) for line in (system.run_folder / "logs" / "controller.log").read_text().splitlines()]


def events(system: System) -> set[str]:
    """Return the events in the controller's log."""
    return {line["event"] for line in lines_of(system)}


def seen_serving(system: System, pid: int) -> bool:
    """Tell whether the controller knows that a worker has served."""
    return any(line["event"] == "worker serves" and line["pid"] == pid for line in lines_of(system))
