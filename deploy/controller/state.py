"""What the controller must still know after its own restart, in `controller.json` of the run folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from deploy.controller.files import replace
from deploy.controller.log_follower import Position
from deploy.controller.revival import Backoff
from inference_core.errors import ConfigurationError
from otel.lives import Life

FILE = "controller.json"
LOCK = "controller.lock"


class State(msgspec.Struct, frozen=True):
    """Where supervisord's log was read to, who ran there, whom the controller killed and why, who waits for a start."""

    position: Position = Position()
    lives: dict[str, Life] = {}
    verdicts: dict[int, str] = {}
    backoffs: dict[str, Backoff] = {}


class StateFile:
    """The state on disk, owned by one process; raises ConfigurationError where another one has it."""

    def __init__(self, run_folder: Path) -> None:
        self._path = run_folder / FILE
        try:
            self._lock = os.open(run_folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(f"Another controller holds {run_folder / LOCK}; only one can watch.") from error
        except OSError as error:
            raise ConfigurationError(f"The run folder {run_folder} cannot be used: {error.strerror}.") from error

    def load(self) -> State:
        """Return what was saved, or the state of a first start where there is nothing that can be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=State)
        except (FileNotFoundError, msgspec.DecodeError):
            return State()

    def save(self, state: State) -> None:
        """Save whole or not at all; raises OSError."""
        replace(self._path, msgspec.json.encode(state))
