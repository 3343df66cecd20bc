"""`python -m deploy.goodput` refuses what it cannot use before it starts anything."""

from __future__ import annotations

import subprocess
import sys

import pytest

from inference_core.settings import CHECKOUT


@pytest.mark.parametrize("words", [["--rows", "K99"], ["--set", "gateway.processes"], ["--limits-off", "a.b=c"]])
def test_a_wrong_argument_is_refused(words: list[str]) -> None:
    """A row or a setting that does not exist ends with 2 and a sentence."""
    command = [sys.executable, "-m", "deploy.goodput", *words]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
