"""Starts one contender under a keeper, waits for its first right answer, and takes it down."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.bench.contenders import Command, Contender, Launch
from deploy.bench.protocols import Questions
from deploy.bench.tree import Tree
from deploy.trial import free_ports
from inference_core.errors import ConfigurationError
from inference_core.settings import CHECKOUT

START_SECONDS = 45.0
STOP_SECONDS = 40.0
POLL_SECONDS = 0.02
PORTS = 3
OUTPUT = "output"
TAIL_CHARACTERS = 1500
CHECKED = 3  # answers that are compared with the model's own before the load


@dataclass(frozen=True)
class Server:
    """A contender that answers; `bodies` is a file with one request body a line, `cold_start` is in seconds."""

    url: str
    bodies: Path
    tree: Tree
    cold_start: float


@contextmanager
def running(contender: Contender, work: str, python: Path) -> Iterator[Server]:
    """Start the contender with that work and leave no process of it behind.

    Raises ConfigurationError, with the end of its log, where it does not answer or answers wrongly.
    """
    # Below /tmp, whatever TMPDIR is: a Unix socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        questions = Questions.of(work, contender.form)
        bodies = folder / "bodies"
        bodies.write_text("\n".join(questions.bodies) + "\n")
        ports = tuple(free_ports(PORTS))
        began = time.monotonic()
        keeper = _start(contender.arrange(Launch(work, ports, folder, python)), folder / OUTPUT)
        try:
            cold_start = _wait_for_answer(keeper, ports[0], questions) - began
            server = Server(f"http://127.0.0.1:{ports[0]}{questions.path}", bodies, Tree(keeper.pid), cold_start)
            server.tree.settle()
            for index in range(CHECKED):
                questions.check(index, _ask(ports[0], questions.path, questions.bodies[index]) or "")
            yield server
        except ConfigurationError as error:
            tail = (folder / OUTPUT).read_text(errors="replace").strip()[-TAIL_CHARACTERS:]
            raise ConfigurationError(f"{contender.label}, {work}: {error.message}\n{tail}") from error
        finally:
            _stop(keeper)


def _start(command: Command, output: Path) -> subprocess.Popen[bytes]:
    with output.open("wb") as file:
        return subprocess.Popen(  # noqa: S603  # our own programs with our own arguments
            [sys.executable, "-m", "deploy.bench.keeper", *command.arguments],
            cwd=CHECKOUT,
            env={**os.environ, **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def _wait_for_answer(keeper: subprocess.Popen[bytes], port: int, questions: Questions) -> float:
    """Return when the first answer came; raises ConfigurationError if the command fails before or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if keeper.poll() is not None:
            raise ConfigurationError(f"it left with status {keeper.returncode} before it answered.")
        answer = _ask(port, questions.path, questions.bodies[0])
        if answer is not None:
            answered = time.monotonic()
            questions.check(0, answer)
            return answered
        time.sleep(POLL_SECONDS)
    raise ConfigurationError(f"it did not answer within {START_SECONDS:.0f} s.")


def _ask(port: int, path: str, body: str) -> str | None:
    """Return the body of a 200, or None when there was none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return text if response.status == http.client.OK else None


def _stop(keeper: subprocess.Popen[bytes]) -> None:
    keeper.send_signal(signal.SIGTERM)
    try:
        keeper.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"The keeper (pid {keeper.pid}) of a server does not end; kill it.") from error
