"""Processes as /proc shows them."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time

from otel import processes
from tests.waiting import wait_for


def test_a_child_is_found_with_its_age_and_its_command() -> None:
    """A process that was started just now is a child of this one, and started just now."""
    before = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", "input()", "mark"], stdin=subprocess.PIPE) as child:
        wait_for(lambda: processes.command(child.pid)[-1:] == ["mark"], "the child's own command")
        assert child.pid in processes.children(os.getpid())
        assert child.pid in processes.tree(os.getpid())
        assert abs(processes.started(child.pid) - before) < 1.0
        wait_for(lambda: processes.resident_bytes(child.pid) > 100_000, "a Python in memory")
        child.communicate(b"\n")
    assert processes.command(child.pid) == []
    assert math.isnan(processes.started(child.pid))
    assert not processes.is_alive(child.pid)
    assert processes.resident_bytes(child.pid) == 0


def test_processor_time_is_counted() -> None:
    """Work shows up as processor seconds."""
    before = processes.processor_seconds([os.getpid()])
    over = time.process_time() + 0.1
    while time.process_time() < over:
        pass
    assert processes.processor_seconds([os.getpid()]) - before >= 0.08
