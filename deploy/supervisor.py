"""Calls supervisord and supervisorctl of this environment on the project's configuration."""

from __future__ import annotations

import subprocess
from pathlib import Path

from deploy.environment import CONFIGURATION, environment
from inference_core.errors import ConfigurationError
from inference_core.settings import CHECKOUT, Settings

TIMEOUT_SECONDS = 40
NOT_RUNNING = 3  # exit status of `supervisorctl status` when a program is not up (LSB)


class Supervisor:
    """The supervisord that belongs to a set of settings."""

    def __init__(self, settings: Settings) -> None:
        self._environment = environment(settings)
        self._programs = Path(self._environment["INFERENCEHUB_BIN"])
        self._socket = settings.run_folder / "supervisor.sock"

    def start(self) -> subprocess.CompletedProcess[str]:
        """Start supervisord in the background."""
        return self._run("supervisord", "-c", str(CONFIGURATION))

    def control(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a supervisorctl command and return what it said."""
        return self._run("supervisorctl", "-c", str(CONFIGURATION), "-s", f"unix://{self._socket}", *arguments)

    def is_running(self) -> bool:
        """Tell whether supervisord answers."""
        return self.control("status").returncode in {0, NOT_RUNNING} and self._socket.exists()

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return self._output_of(program, *arguments)
        except subprocess.TimeoutExpired as error:
            raise ConfigurationError(
                f"supervisord does not react within {TIMEOUT_SECONDS} s; is it stopped? Its pid is in "
                f"{self._socket.parent / 'supervisord.pid'}."
            ) from error

    def _output_of(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own programs with our own arguments
            [str(self._programs / program), *arguments],
            cwd=CHECKOUT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
