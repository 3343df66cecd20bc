"""A worker's place among its siblings: exactly one process owns a slot's sockets."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from inference_core.errors import ConfigurationError


class SlotLock:
    """Holds an exclusive flock(2) until the process ends, however it ends.

    A second gRPC server on the same Unix socket would steal it silently; this makes it leave instead.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise ConfigurationError(
                f"Another worker holds {path.name}; stop it first (supervisorctl status shows the slots)."
            ) from error

    def release(self) -> None:
        """Let the next worker have the slot."""
        os.close(self._descriptor)
