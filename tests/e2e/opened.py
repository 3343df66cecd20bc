"""What running processes open while something is done to them, as strace(1) sees it."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.tools import missing, packaged
from tests.waiting import wait_for

CALLS = "trace=open,openat,openat2"
OPENED = re.compile(r'open(?:at2?)?\((?:(?:AT_FDCWD|-?\d+)(?:<([^>]*)>)?, )?"((?:[^"\\]|\\.)*)"')


@contextlib.contextmanager
def opened_by(pids: Iterable[int]) -> Iterator[list[str]]:
    """Watch processes and all their threads; after that the list has each path that one of them tried to open."""
    command = [str(packaged("strace")), "-f", "-y", "-e", CALLS]
    paths: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hub-strace-") as folder:
        output, errors = Path(folder, "calls"), Path(folder, "errors")
        targets = [word for pid in pids for word in ("-p", str(pid))]
        with errors.open("wb") as stream, subprocess.Popen([*command, "-o", output, *targets], stderr=stream) as tracer:
            try:
                _wait_until_attached(tracer, errors, len(targets) // 2)
                yield paths
            finally:
                tracer.send_signal(signal.SIGINT)  # it lets go of what it watches
        paths += paths_in(output.read_text(errors="surrogateescape"))


def paths_in(calls: str) -> list[str]:
    """Return the paths of strace's lines, as they were asked for, with the folder that they count from before them."""
    return [str(Path(folder, path)) for folder, path in OPENED.findall(calls)]


def _wait_until_attached(tracer: subprocess.Popen[bytes], errors: Path, count: int) -> None:
    def is_attached() -> bool:
        said = errors.read_text()
        if "not permitted" in said or tracer.poll() is not None:
            missing(f"strace may not look at these processes: {said.strip()[:200]}")
        return said.count(" attached") >= count

    wait_for(is_attached, f"strace at {count} processes", interval=0.01)
