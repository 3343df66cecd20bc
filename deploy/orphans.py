"""Programs that outlived their supervisord.

A supervisord that is killed leaves its programs a SIGTERM (setpriv --pdeathsig), which a stopped process and a hung
event loop never handle. What they hold, a slot's flock or a port, then keeps the next ones from starting.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Container, Mapping
from pathlib import Path

POLL_SECONDS = 0.05
Environment = Mapping[bytes, bytes]


def end_orphans(run_folder: Path, seconds: float, say: Callable[[str], None]) -> None:
    """Wait until the orphans of a run folder have left, and kill what is left after that many seconds.

    There are none while a supervisord of that folder is alive.
    """
    deadline = time.monotonic() + seconds
    found = _orphans(run_folder)
    if found:
        say(f"Ending {len(found)} processes that outlived their supervisord ...")
    while found and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        found = _orphans(run_folder)
    for pid in found:
        _kill(pid, lambda environment: _is_supervised(environment, run_folder))
    while found and time.monotonic() < deadline + 1:
        time.sleep(POLL_SECONDS)  # a killed process needs a moment to close its sockets
        found = _orphans(run_folder)


def free_slot(run_folder: Path, slot: int, supervised: Container[int]) -> int | None:
    """Kill the orphan that holds a slot and return its pid, None where there is none.

    Only a process that holds the slot's lock, was started by a supervisord for this run folder and slot, and is not
    among the `supervised` pids is one; whatever a person started by hand is left alone.
    """
    pid = _holder(run_folder / f"inference-{slot}.lock")
    if pid is None or pid in supervised:
        return None
    name = f"inference-{slot}".encode()
    return _kill(pid, lambda found: _is_supervised(found, run_folder) and found.get(b"SUPERVISOR_PROCESS_NAME") == name)


def _orphans(run_folder: Path) -> list[int]:
    pids = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    ours = {pid: found for pid in pids if _is_ours(found := _environment(pid), run_folder)}
    if any(b"SUPERVISOR_ENABLED" not in found and _is_supervisord(pid) for pid, found in ours.items()):
        return []
    return [pid for pid, found in ours.items() if _is_supervised(found, run_folder)]


def _kill(pid: int, is_meant: Callable[[Environment], bool]) -> int | None:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        # Looked at after the pidfd was opened, so that a pid that is used again is not taken for the old process.
        if not is_meant(_environment(pid)):
            return None
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return pid


def _is_ours(environment: Environment, run_folder: Path) -> bool:
    return environment.get(b"INFERENCEHUB_RUN") == os.fsencode(run_folder)


def _is_supervised(environment: Environment, run_folder: Path) -> bool:
    return _is_ours(environment, run_folder) and b"SUPERVISOR_ENABLED" in environment


def _is_supervisord(pid: int) -> bool:
    try:
        return b"supervisord" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _environment(pid: int) -> Environment:
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    return {name: value for name, _, value in (entry.partition(b"=") for entry in content.split(b"\0"))}


def _holder(lock: Path) -> int | None:
    # proc_locks(5): ordinal, FLOCK, ADVISORY, WRITE, pid, major:minor:inode, range.
    try:
        inode = str(lock.stat().st_ino)
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    rows = [line.split() for line in lines]
    return next((int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].rpartition(":")[2] == inode), None)
