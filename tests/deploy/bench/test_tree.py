"""CPU time and memory of a process tree."""

from __future__ import annotations

import subprocess
import sys

from deploy.bench.meter import Meter
from deploy.bench.tree import Tree
from tests.waiting import wait_for

BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
# A child that burns and is reaped, then a second that lives on.
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BURN!r}])
print(flush=True)
sys.stdin.read()
"""


def test_cpu_time_of_ended_children_counts() -> None:
    """A server that works in short-lived processes does not look cheap."""
    with subprocess.Popen([sys.executable, "-m", "deploy.bench.keeper", sys.executable, "-c", PARENT],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:  # fmt: skip
        assert keeper.stdout is not None
        tree = Tree(keeper.pid)
        keeper.stdout.readline()
        assert tree.cpu_seconds() >= 0.29
        memory = tree.memory()
        assert 1 < memory.pss <= memory.rss
        meter = Meter(tree)
        tree.settle()
        assert meter.server() < 0.2
        keeper.terminate()
        keeper.wait()


def test_foreign_work_is_seen() -> None:
    """What other programs take of the machine while a server is measured is known."""
    with (
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other,
        subprocess.Popen(["sleep", "60"]) as server,
    ):
        meter = Meter(Tree(server.pid))
        wait_for(lambda: meter.foreign() > 0.2, "foreign work")
        other.kill()
        server.kill()
