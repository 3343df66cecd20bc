"""Workers that outlived an earlier supervisord and still hold their slot.

A supervisord that is killed leaves its programs a SIGTERM (setpriv --pdeathsig), which a stopped process and a hung
event loop never handle. Their slot's flock would then keep every new worker of that slot from starting.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Container
from pathlib import Path


def remove(run_folder: Path, slot: int, supervised: Container[int]) -> int | None:
    """Kill the orphan that holds a slot and return its pid, None where there is none.

    Only a process that holds the slot's lock, was started by a supervisord for this run folder and slot, and is not
    among the `supervised` pids is one; whatever a person started by hand is left alone.
    """
    pid = _holder(run_folder / f"inference-{slot}.lock")
    if pid is None or pid in supervised:
        return None
    wanted = {f"SUPERVISOR_PROCESS_NAME=inference-{slot}".encode(), b"INFERENCEHUB_RUN=" + os.fsencode(run_folder)}
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        if not wanted <= set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")):
            return None
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return pid


def _holder(lock: Path) -> int | None:
    # proc_locks(5): ordinal, FLOCK, ADVISORY, WRITE, pid, major:minor:inode, range.
    try:
        inode = str(lock.stat().st_ino)
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    rows = [line.split() for line in lines]
    return next((int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].rpartition(":")[2] == inode), None)
