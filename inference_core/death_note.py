"""What a worker writes down before it runs a suspected input alone: if it dies of it, the note stays.

A note is believed only once the process that wrote it has ended. Whoever is slow to learn of a worker's death would
else read what the next worker in its place runs at the moment, which is alive and well.
"""

from __future__ import annotations

import os
from pathlib import Path

ENDED_STATES = "ZX"


def write(note: Path, fingerprint: str, pid: int | None = None) -> None:
    """Name an input that this process (or `pid`) begins to run alone."""
    note.write_text(f"{fingerprint} {os.getpid() if pid is None else pid}", encoding="ascii")


def read(note: Path) -> tuple[str, float]:
    """Return the fingerprint that a dead process left, and when it wrote it (time.time); "" and 0 for none."""
    try:
        written_at = note.stat().st_mtime
        fingerprint, pid = note.read_text(encoding="ascii").split()
        return ("", 0.0) if _runs(int(pid)) else (fingerprint, written_at)
    except (OSError, ValueError):
        return "", 0.0


def _runs(pid: int) -> bool:
    # A process that was killed is there until its parent has asked for its status (proc(5), stat).
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ENDED_STATES
