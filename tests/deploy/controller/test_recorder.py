"""Exits are recorded exactly once, whatever happens to the recorder."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from deploy.controller.history import History
from deploy.controller.log_follower import LogFollower
from deploy.controller.recorder import Recorder
from deploy.controller.state import LOCK, State, StateFile
from inference_core.errors import ConfigurationError
from otel.lives import EXITS, Exit, recorded

LOG = """\
2026-11-24 05:46:10,000 INFO supervisord started with pid 1
2026-11-24 05:46:10,500 INFO spawned: 'inference-0' with pid 70
2026-11-24 05:46:12,500 WARN exited: inference-0 (terminated by SIGKILL; not expected)
2026-11-24 05:46:12,600 INFO spawned: 'inference-0' with pid 71
"""
LATER = "2026-11-24 05:46:20,600 WARN exited: inference-0 (exit status 3; not expected)\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a run folder with supervisord's log."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "supervisord.log").write_text(LOG)
    return tmp_path


def recorder(folder: Path, said: list[Exit]) -> Recorder:
    """Return a recorder as it is after a start."""
    logs = folder / "logs"
    return Recorder(logs, LogFollower(logs / "supervisord.log", 3), History(folder), said.append)


def more(folder: Path, text: str) -> None:
    """Let supervisord write on."""
    with (folder / "logs" / "supervisord.log").open("a") as file:
        file.write(text)


def test_an_exit_is_said_and_recorded_with_what_is_known(folder: Path) -> None:
    """Uptime and pid come from the lines before, the verdict of the controller is the reason, and is used up."""
    said: list[Exit] = []
    state = recorder(folder, said).catch_up(State(verdicts={70: "hung", 71: "other"}))
    assert [(found.pid, found.uptime, found.signal, found.reason) for found in said] == [(70, 2.0, "SIGKILL", "hung")]
    assert recorded(folder) == said
    assert state.verdicts == {71: "other"}
    assert state.lives["inference-0"].pid == 71


def test_a_recorder_that_died_before_its_state_was_saved_repeats_nothing(folder: Path) -> None:
    """The next one reads the same lines again, with the runs they tell of, and records only what is new."""
    said: list[Exit] = []
    recorder(folder, said).catch_up(State())
    more(folder, LATER)
    recorder(folder, said).catch_up(State())
    assert [(found.pid, found.uptime) for found in said] == [(70, 2.0), (71, 8.0)]
    assert recorded(folder) == said


def test_a_history_that_cannot_be_written_loses_nothing(folder: Path) -> None:
    """The exit is recorded when the disk takes it, and the state does not move before."""
    said: list[Exit] = []
    recording = recorder(folder, said)
    (folder / EXITS).unlink()
    (folder / EXITS).mkdir()
    with pytest.raises(OSError, match=EXITS):
        recording.catch_up(State())
    (folder / EXITS).rmdir()
    recording.catch_up(State())
    assert [found.pid for found in recorded(folder)] == [70]


def test_the_state_survives_and_has_one_owner(folder: Path) -> None:
    """What was saved is loaded again, garbage is a first start, and a second controller is refused."""
    states = StateFile(folder)
    state = recorder(folder, []).catch_up(states.load())
    states.save(msgspec.structs.replace(state, verdicts={71: "hung"}))
    assert states.load().verdicts == {71: "hung"}
    with pytest.raises(ConfigurationError, match=LOCK):
        StateFile(folder)
    (folder / "controller.json").write_text("{")
    assert states.load() == State()
