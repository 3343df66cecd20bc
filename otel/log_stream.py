"""Standard output as a place for log lines: one write for those that come together, and never an error.

Whoever reads the pipe is woken by every write. On a machine that is busy, twenty lines a second that each woke
supervisord cost a twentieth of all requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TextIO

PIPE_BYTES = 4096
"""As much as a pipe takes in one piece, PIPE_BUF (pipe(7)); lines are ASCII."""


class Unfailing:
    """A text stream on which writing never raises: a request outlives the reader of its log lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or lose the text where nobody reads it any more."""
        with contextlib.suppress(OSError, ValueError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        """Flush as far as that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class Lines:
    """What structlog and standard logging write to, from any thread; lines keep their order.

    In a thread with a running event loop `debug` and `info` lines of one turn of the loop leave together. All others
    leave at once, after those that wait.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = Unfailing(stream)
        self._lock = threading.RLock()  # a signal handler may log while a line is written
        self._waiting = ""
        self._loop: asyncio.AbstractEventLoop | None = None

    def write(self, text: str) -> int:
        """Write at once."""
        with self._lock:
            self._gather(text)
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            text, self._waiting = self._waiting, ""
            if text:
                self._stream.write(text)
                self._stream.flush()

    def msg(self, line: str) -> None:
        """Write a line at once."""
        self.write(f"{line}\n")

    warning = error = critical = exception = msg

    def info(self, line: str) -> None:
        """Write a line with others of this turn."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.msg(line)
            return
        with self._lock:
            self._gather(f"{line}\n")
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._turned)

    debug = info

    def _gather(self, text: str) -> None:
        if len(self._waiting) + len(text) > PIPE_BYTES:
            self.flush()
        self._waiting += text

    def _turned(self) -> None:
        self._loop = None
        self.flush()
