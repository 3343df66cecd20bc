"""Runs one command and answers for every process that comes of it: `python -m deploy.bench.keeper COMMAND ...`.

Daemons leave their parents, so the keeper is a child subreaper (prctl(2)): whatever loses its parent below it becomes
its child. When it is told to stop, or when the process that started it dies, it asks all of them to leave, kills
what is still there after a while, and leaves last.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from types import FrameType

import psutil

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
GRACE_SECONDS = 15.0
POLL_SECONDS = 0.05


class Stopped(BaseException):  # no error: somebody asked
    """Somebody asked the keeper to stop."""


def main() -> int:
    """Return the command's exit status if all its processes left by themselves, 0 after a stop."""
    _prepare()
    try:
        process = subprocess.Popen(sys.argv[1:], start_new_session=True)  # noqa: S603  # the caller's own command
        status = _wait(process.pid)
    except Stopped:
        status = 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    _stop_all()
    return status


def _prepare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((PR_SET_CHILD_SUBREAPER, 1), (PR_SET_PDEATHSIG, signal.SIGTERM)):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl({option})")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stopped


def _wait(command: int) -> int:
    """Reap until no child is left or the command has failed; return the command's exit status."""
    status = 0
    while status == 0:
        try:
            pid, ended = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        if pid == command:
            status = os.waitstatus_to_exitcode(ended)
    return status


def _stop_all() -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    asked: set[int] = set()
    while left := _children():
        if time.monotonic() > deadline:
            _signal(psutil.Process().children(recursive=True), signal.SIGKILL)
        # Only the heads: a supervisor stops its programs in its own order, and orphans become heads in their turn.
        _signal([process for process in left if process.pid not in asked], signal.SIGTERM)
        asked |= {process.pid for process in left}
        time.sleep(POLL_SECONDS)


def _children() -> list[psutil.Process]:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return []
    return psutil.Process().children()


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


if __name__ == "__main__":
    sys.exit(main())
