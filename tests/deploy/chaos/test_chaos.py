"""`python -m deploy.chaos` on a real system."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from inference_core.settings import CHECKOUT

CHAOS = [sys.executable, "-m", "deploy.chaos"]


@pytest.mark.e2e
def test_a_killed_gateway_member_loses_what_was_in_flight_and_nothing_else(tmp_path: Path) -> None:
    """A short run prints a row, writes it as JSON, ends with 0, and leaves no process behind."""
    file = tmp_path / "rows.json"
    command = [*CHAOS, "--quick", "--rate", "60", "--faults", "kill-gateway", "--json", str(file)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads(file.read_text())
    assert row["requests"] > 60
    assert row["failed"] == 0
    assert row["recovery"] is not None
    assert "| kill-gateway " in done.stdout
    assert "Everything as it must be." in done.stdout


def test_a_fault_that_does_not_exist_is_refused() -> None:
    """A wrong name is answered with the names there are."""
    done = subprocess.run([*CHAOS, "--faults", "nonsense"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "kill-workers" in done.stderr
