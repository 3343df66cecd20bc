"""The experiment with changing models: its repository, and its verdicts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from deploy.load.report import Figures
from deploy.reload import Repository, _judged, wait_for

FINE = Figures("changing", 100, 100, 0, 0.001, 0.002, 0.003, math.nan, 0.0, 100, {"200": 100})
BROKEN = {("changing", "2"): ("UNAVAILABLE", "syntax"), ("changing", "3"): ("UNAVAILABLE", "raised")}


def test_each_generation_is_another_model(tmp_path: Path) -> None:
    """What replaces version 1 is another number, and the file changes in one step."""
    repository = Repository(tmp_path)
    before = (tmp_path / "changing" / "1" / "model.py").read_text()
    repository.replace()
    assert (tmp_path / "changing" / "1" / "model.py").read_text() != before
    assert repository.generation == 2
    assert [file.name for file in (tmp_path / "changing" / "1").iterdir()] == ["model.py"]


def test_all_well_is_no_complaint(capsys: pytest.CaptureFixture[str]) -> None:
    """No failed request, and broken versions refused by every worker: nothing is wrong, and figures are told."""
    assert _judged(FINE, [BROKEN, BROKEN], 20, 9.0) == []
    assert "100 requests, 0 failed" in capsys.readouterr().out


def test_a_failure_or_a_broken_version_that_serves_is_wrong() -> None:
    """A request that failed is counted, and so is a broken version that any worker serves."""
    failed = Figures("changing", 100, 98, 2, 0.001, 0.002, 0.003, math.nan, 0.0, 100, {"200": 98, "503": 2})
    assert _judged(failed, [BROKEN], 20, 9.0) == ["2 requests failed"]
    (sentence,) = _judged(FINE, [BROKEN, BROKEN | {("changing", "3"): ("READY", "")}], 20, 9.0)
    assert "('3', 'READY')" in sentence


def test_waiting_ends() -> None:
    """What never comes is told by its name."""
    with pytest.raises(TimeoutError, match=r"Waited 0\.01 s for rain"):
        wait_for("rain", lambda: False, seconds=0.01)
