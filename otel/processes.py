"""Processes of a running system as /proc shows them: who they are, how old, what they cost."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
USER, SYSTEM, STARTED = 11, 12, 19
"""Places in /proc/PID/stat behind the program's name, see proc_pid_stat(5)."""


def supervisord_of(run_folder: Path) -> int:
    """Return the pid of the supervisord that runs in that folder; raises OSError or ValueError where none does."""
    return int((run_folder / "supervisord.pid").read_text())


def children(pid: int) -> list[int]:
    """Return the pids of a process's children, none where it is gone."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, file.read_text().split())
        except OSError:
            continue
    return sorted(found)


def tree(pid: int) -> list[int]:
    """Return a process with all its descendants."""
    return [pid, *(grandchild for child in children(pid) for grandchild in tree(child))]


def command(pid: int) -> list[str]:
    """Return a process's arguments, none where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    return bool(command(pid))


def started(pid: int) -> float:
    """Return when a process started, in seconds on the monotonic clock, to 10 ms; NaN where it is gone.

    Holds on a machine that was never suspended: the kernel counts from its boot.
    """
    stat = _stat(pid)
    return int(stat[STARTED]) / TICKS_PER_SECOND if stat else float("nan")


def processor_seconds(pids: Iterable[int]) -> float:
    """Return the processor time that these processes have used so far, in seconds; those that are gone count 0."""
    stats = [stat for pid in pids if (stat := _stat(pid))]
    return sum(int(stat[USER]) + int(stat[SYSTEM]) for stat in stats) / TICKS_PER_SECOND


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory in bytes, 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
