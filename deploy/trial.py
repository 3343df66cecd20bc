"""A private InferenceHub for experiments: free ports, a temporary folder, its own settings."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_core.errors import ConfigurationError
from inference_core.settings import CHECKOUT, VARIABLE

Sections = Mapping[str, Mapping[str, Any]]
FIRST_PORT, LAST_PORT = 20000, 32000
VERB_SECONDS = 150


def free_ports(count: int) -> list[int]:
    """Return that many free TCP ports in a row, below those that Linux gives to outgoing connections."""
    while True:
        start = random.randrange(FIRST_PORT, LAST_PORT - count)  # noqa: S311  # no secret hangs on a port
        if all(_is_free(port) for port in range(start, start + count)):
            return list(range(start, start + count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@dataclass(frozen=True)
class Trial:
    """A system that was started by `trial`; `url` is its gateway, `run_folder` has its sockets and logs.

    `port` is the gateway's for HTTP, `grpc_port` its other one, `worker_port` that of the first worker.
    """

    url: str
    port: int
    grpc_port: int
    worker_port: int
    run_folder: Path
    environment: Mapping[str, str]

    def deploy(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m deploy ...` for this system."""
        return self._run(sys.executable, "-m", "deploy", *arguments)

    def control(self, *arguments: str) -> str:
        """Run supervisorctl for this system and return what it printed."""
        program = Path(sys.executable).parent / "supervisorctl"
        return self._run(str(program), "-s", f"unix://{self.run_folder}/supervisor.sock", *arguments).stdout

    def pids(self, group: str) -> list[int]:
        """Return the pids that supervisord has for a group, in the order of its members."""
        # `status` has no pid for a program that has not yet run for its startsecs; `pid` says 0 for one that is down.
        names = [line.split()[0] for line in self.control("status", f"{group}:*").splitlines()]
        return [pid for word in self.control("pid", *names).split() if (pid := int(word))]

    def processes(self) -> list[int]:
        """Return the pids of every process that was started for this system."""
        wanted = f"{VARIABLE}={self.environment[VARIABLE]}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603  # our own programs with our own arguments
            command,
            cwd=CHECKOUT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=VERB_SECONDS,
            check=False,
        )


@contextmanager
def trial(sections: Sections, *, prefix: tuple[str, ...] = ()) -> Iterator[Trial]:
    """Start a system with these sections of settings, and leave no process of it behind.

    `prefix` is a command that runs the start, such as ("taskset", "-c", "0"), and so holds for every process.
    Raises ConfigurationError with what `up` said where it does not become ready.
    """
    # Below /tmp, whatever TMPDIR is: a Unix socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="hub-", dir="/tmp") as folder:  # mkdtemp is private
        running = prepared(Path(folder), sections)
        try:
            done = running._run(*prefix, sys.executable, "-m", "deploy", "up")  # noqa: SLF001  # its own module
            if done.returncode:
                raise ConfigurationError(done.stderr or done.stdout)
            yield running
        finally:
            running.deploy("down")
            for pid in running.processes():
                os.kill(pid, signal.SIGKILL)


def prepared(folder: Path, sections: Sections) -> Trial:
    """Write the settings of a system that is not started yet into an existing private folder.

    Ports and run folder are chosen here where the sections do not name them.
    """
    workers = sections.get("inference", {}).get("workers", 2)
    port, grpc_port, trace_port, worker_port, *_ = free_ports(4 + workers)
    base: dict[str, dict[str, Any]] = {
        "gateway": {"port": port, "grpc_port": grpc_port},
        "inference": {"port": worker_port},
        "telemetry": {"otlp_endpoint": f"http://127.0.0.1:{trace_port}"},
        "tracestore": {"port": trace_port},
        "layout": {"run_folder": str(folder / "run")},
    }
    file = folder / "settings.toml"
    names = [*base, *(name for name in sections if name not in base)]
    file.write_text(_toml({name: {**base.get(name, {}), **sections.get(name, {})} for name in names}))
    run_folder, environment = folder / "run", {**os.environ, VARIABLE: str(file)}
    return Trial(f"http://127.0.0.1:{port}", port, grpc_port, worker_port, run_folder, environment)


def _toml(document: Sections) -> str:
    # JSON's strings, numbers, booleans and arrays are TOML's too.
    return "".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        for name, values in document.items()
    )
