"""The exits of the programs, one JSON object a line in `exits.jsonl` of the run folder, oldest first, bounded."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from deploy.controller.files import replace
from otel.lives import EXITS, Exit, recorded

KEPT = 1000

_encoder = msgspec.json.Encoder()


class History:
    """The file as its one writer has it; the methods raise OSError where it cannot be written."""

    def __init__(self, run_folder: Path) -> None:
        self._path = run_folder / EXITS
        self._exits = recorded(run_folder)
        self._keys = {exit_.key for exit_ in self._exits}
        # A writer that was killed may have left half a line.
        self._rewrite()

    def add(self, exit_: Exit) -> bool:
        """Append an exit, and tell whether it is new: one that was recorded before a crash is not recorded twice."""
        if exit_.key in self._keys:
            return False
        self._append(_encoder.encode(exit_) + b"\n")
        self._exits.append(exit_)
        self._keys.add(exit_.key)
        if len(self._exits) >= 2 * KEPT:
            self._rewrite()
        return True

    def last(self, process: str) -> Exit | None:
        """Return the latest exit of a program."""
        return next((exit_ for exit_ in reversed(self._exits) if exit_.process == process), None)

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def _rewrite(self) -> None:
        self._exits = self._exits[-KEPT:]
        self._keys = {exit_.key for exit_ in self._exits}
        replace(self._path, b"".join(_encoder.encode(exit_) + b"\n" for exit_ in self._exits))
