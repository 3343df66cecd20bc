"""Several logs, read as one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from deploy.logs import log_files, merged
from inference_core.errors import ConfigurationError
from inference_core.settings import CHECKOUT, VARIABLE

EVENT = re.compile(r"""\blog\.(?:debug|info|warning|error|exception)\(\s*"([^"]+)\"""")
SOURCES = ("gateway", "model_service", "otel", "deploy/controller")


def written(second: int, event: str, **fields: str) -> str:
    """Return a line as a program writes it."""
    return json.dumps({"event": event, "level": "info", "timestamp": f"2026-11-24T12:00:{second:02}Z", **fields}) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a run folder's logs of two processes."""
    logs = tmp_path / "run" / "logs"
    logs.mkdir(parents=True)
    (logs / "gateway-0.log").write_text(written(1, "a") + written(3, "c", trace_id="4bf92f"))
    (logs / "inference-0.log").write_text(written(0, "z") + written(2, "b", trace_id="4bf92f"))
    return logs


def events(lines: Iterator[object], count: int) -> list[str]:
    """Return the events of so many lines."""
    return [getattr(line, "fields")["event"] for line in islice(lines, count)]  # noqa: B009  # any kind of line


def test_the_last_lines_of_all_files_come_in_the_order_of_their_times(folder: Path) -> None:
    """Two of each file, or all."""
    assert events(merged(log_files(folder), 1, follows=False), 9) == ["b", "c"]
    assert events(merged(log_files(folder), None, follows=False), 9) == ["z", "a", "b", "c"]


def test_lines_that_come_later_follow_across_a_rotation(folder: Path) -> None:
    """What was written to the old file before and to the new one after comes once, in order."""
    file = folder / "gateway-0.log"

    def append() -> None:
        with file.open("a") as opened:
            opened.write(written(4, "d"))

    def rotate() -> None:
        with file.open("a") as opened:
            opened.write(written(5, "e"))
        file.rename(f"{file}.1")
        file.write_text(written(6, "f"))

    steps = iter((append, rotate, list))

    def pause() -> None:
        next(steps)()

    lines = merged(log_files(folder), 1, follows=True, pause=pause)
    assert events(lines, 5) == ["b", "c", "d", "e", "f"]


def test_a_folder_without_logs_is_said_so(tmp_path: Path) -> None:
    """Before the first start the command names the folder instead of waiting for ever."""
    with pytest.raises(ConfigurationError, match=r"no logs in .* yet; start with make up"):
        log_files(tmp_path)


def ask(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command for the logs of a folder."""
    settings = folder.parent.parent / "settings.toml"
    settings.write_text(f'[layout]\nrun_folder = "{folder.parent}"\n')
    command = [sys.executable, "-m", "deploy.logs", "--no-follow", *arguments]
    environment = {**os.environ, VARIABLE: str(settings)}
    return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)


def test_the_command_shows_what_both_programs_said_of_a_trace(folder: Path) -> None:
    """One line each, as written where that is asked for."""
    done = ask(folder, "--trace", "4bf9", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == written(2, "b", trace_id="4bf92f") + written(3, "c", trace_id="4bf92f")


def test_nothing_found_is_said_so(folder: Path) -> None:
    """A question without an answer is told from a command that did not work."""
    done = ask(folder, "--trace", "0000")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("No line matches.")


def test_a_number_of_lines_that_is_none_is_refused(folder: Path) -> None:
    """The message says what to give."""
    done = ask(folder, "--lines", "0")
    assert done.returncode == 2
    assert "give 1 or more" in done.stderr


def test_a_program_that_there_is_not_is_told_with_those_there_are(folder: Path) -> None:
    """A wrong name is no empty log."""
    done = ask(folder, "--program", "worker")
    assert done.returncode == 1
    assert "there are gateway-0, inference-0" in done.stderr


def test_every_event_is_documented() -> None:
    """Whatever a program logs by a fixed name stands in docs/LOGS.md."""
    documented = (CHECKOUT / "docs" / "LOGS.md").read_text()
    files = [file for folder in SOURCES for file in (CHECKOUT / folder).rglob("*.py")]
    found = {event for file in files for event in EVENT.findall(file.read_text())}
    assert len(found) > 30
    assert {event for event in found if f"`{event}`" not in documented} == set()
