"""A worker's place among its siblings: exactly one process owns a slot's sockets."""

from __future__ import annotations

from pathlib import Path

from inference_core.file_lock import FileLock


class SlotLock(FileLock):
    """The lock of a slot; raises ConfigurationError while another worker holds it.

    A second gRPC server on the same Unix socket would steal it silently; this makes it leave instead.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, f"Another worker holds {path.name}; stop it first (supervisorctl status shows the slots)."
        )
