"""`make dev`: which programs a saved file belongs to, and that these are restarted one after the other."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import cast

import pytest

from deploy.dev import _reload, groups_of, stamps
from deploy.supervisor import Supervisor
from inference_core.settings import CHECKOUT


class Recorded:
    """Stands for supervisorctl: notes what it is told, and answers as it does."""

    def __init__(self, *, fails: bool = False) -> None:
        self.told: list[tuple[str, ...]] = []
        self._fails = fails

    def control(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Note a command."""
        self.told.append(arguments)
        group = arguments[1].partition(":")[0]
        status = "".join(f"{group}:{group}-{number}   RUNNING   pid 1, uptime 0:00:01\n" for number in (0, 1))
        answer = "ERROR (spawn error)" if self._fails else "started"
        return subprocess.CompletedProcess(arguments, 0, status if arguments[0] == "status" else answer, "")


@pytest.mark.parametrize(
    ("files", "groups"),
    [
        (["gateway/app.py"], ["gateway"]),
        (["model_service/engine.py"], ["inference"]),
        (["otel/logs.py", "gateway/app.py"], ["inference", "gateway"]),
    ],
)
def test_a_file_belongs_to_the_programs_that_run_it(files: list[str], groups: list[str]) -> None:
    """What one program runs restarts that alone; what both run restarts the workers first."""
    assert groups_of(CHECKOUT, [CHECKOUT / file for file in files]) == groups


def test_saving_shows_and_models_do_not(tmp_path: Path) -> None:
    """A new time of a source file is a change; a model's file is none, for workers follow those by themselves."""
    file, model = tmp_path / "gateway" / "app.py", tmp_path / "model_service" / "models" / "m" / "1" / "model.py"
    for path in (file, model):
        path.parent.mkdir(parents=True)
        path.touch()
    before = stamps(tmp_path)
    os.utime(file, (1, 1))
    os.utime(model, (1, 1))
    assert before.keys() == {file}
    assert stamps(tmp_path) == {file: 1_000_000_000}
    assert before[file] != 1_000_000_000


def test_members_are_restarted_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Each member is restarted by itself, so that the other one answers meanwhile."""
    recorded = Recorded()
    _reload(cast("Supervisor", recorded), CHECKOUT, {CHECKOUT / "gateway" / "app.py"})
    assert recorded.told[1:] == [("restart", "gateway:gateway-0"), ("restart", "gateway:gateway-1")]
    assert "gateway/app.py" in capsys.readouterr().out


def test_a_program_that_does_not_start_leaves_the_other_members(capsys: pytest.CaptureFixture[str]) -> None:
    """After a mistake the first member is down and the second one still answers."""
    recorded = Recorded(fails=True)
    _reload(cast("Supervisor", recorded), CHECKOUT, {CHECKOUT / "gateway" / "app.py"})
    assert recorded.told[1:] == [("restart", "gateway:gateway-0")]
    assert "mend it and save" in capsys.readouterr().out
