"""A file that exactly one process holds."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from inference_core.errors import ConfigurationError


class FileLock:
    """Holds an exclusive flock(2) until the process ends, however it ends.

    Raises ConfigurationError with the sentence `held` while another process holds it, OSError where the file cannot be
    made.
    """

    def __init__(self, path: Path, held: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise ConfigurationError(held) from error

    def release(self) -> None:
        """Let the next process have it."""
        os.close(self._descriptor)
