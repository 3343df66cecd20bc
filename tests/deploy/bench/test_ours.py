"""Our own system under the benchmark."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from deploy.bench.contenders import CONTENDERS
from deploy.bench.servers import running

pytestmark = pytest.mark.e2e


def test_ours_starts_answers_rightly_and_leaves_nothing() -> None:
    """A measured system gives the model's own answers from all its processes, and they all end."""
    with running(CONTENDERS[0], "forest", Path(sys.executable)) as server:
        pids = [process.pid for process in server.tree.processes()]
        assert len(pids) >= 7
        assert 0 < server.cold_start < 30
        assert server.tree.memory().pss > 50
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []
