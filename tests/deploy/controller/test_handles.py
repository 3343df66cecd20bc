"""The ends of processes are noticed at once, and signals reach the right one."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from deploy.controller.handles import Handles

SECONDS = 5


def open_descriptors() -> int:
    """Return how many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_killed_process_is_noticed() -> None:
    """`kill` ends even a stopped process, its end is told, and no descriptor is left."""
    ended = asyncio.Event()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    before = open_descriptors()
    handles = Handles(ended.set)
    handles.keep([process.pid])
    process.send_signal(signal.SIGSTOP)
    handles.kill(process.pid)
    await asyncio.wait_for(ended.wait(), SECONDS)
    assert await process.wait() == -signal.SIGKILL
    handles.kill(process.pid)
    handles.close()
    assert open_descriptors() <= before


async def test_a_process_that_is_already_gone_is_told_at_once() -> None:
    """A pid that nobody has any more counts as one that ended."""
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    ended = asyncio.Event()
    handles = Handles(ended.set)
    handles.keep([process.pid])
    assert ended.is_set()
    handles.kill(process.pid)
    handles.close()
