"""Processes that tests only need to have been."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


def ended_pid() -> int:
    """Return the pid of a process that has ended."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    return pid


@contextmanager
def unburied() -> Iterator[int]:
    """Give the pid of a process that was killed and whose parent has not asked for its status."""
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        yield pid
    finally:
        os.waitpid(pid, 0)
