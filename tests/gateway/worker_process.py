"""A fake worker in a process of its own, for what only a process can do: die, stop, or hang in its event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from inference_core.settings import CHECKOUT
from tests.gateway.fake_worker import Asked, FakeWorker, echo, serving

HANGS, DIES = 13_000, 14_000
"""A row with the first number makes the event loop hang, one with the second kills the process."""
HANG_SECONDS = 1.5


@contextlib.contextmanager
def process(socket: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a fake worker on a Unix socket."""
    command = [sys.executable, "-m", "tests.gateway.worker_process", str(socket)]
    with subprocess.Popen(command, cwd=CHECKOUT, env=os.environ | {"PYTHONPATH": "proto"}) as popen:
        try:
            yield popen
        finally:
            popen.kill()


async def _obey(asked: Asked) -> None:
    if HANGS in asked.values:
        time.sleep(HANG_SECONDS)  # noqa: ASYNC251  # the loop is meant to hang
    if DIES in asked.values:
        os.abort()


async def _serve(socket: Path) -> None:
    async with serving(FakeWorker(answer=echo, before=_obey), socket):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
