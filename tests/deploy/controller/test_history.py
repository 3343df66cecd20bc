"""The record of exits on disk."""

from __future__ import annotations

import stat
from pathlib import Path

from deploy.controller.history import KEPT, History
from otel.lives import EXITS, Exit, recorded


def exit_number(number: int) -> Exit:
    """Return one of many different exits."""
    return Exit(at="2026-11-24T05:46:12.345+00:00", process="inference-0", pid=number, signal="SIGKILL")


def test_an_exit_is_recorded_once(tmp_path: Path) -> None:
    """The same exit is refused by the writer that knows it and by the next one."""
    assert History(tmp_path).add(exit_number(1))
    again = History(tmp_path)
    assert not again.add(exit_number(1))
    assert again.add(exit_number(2))
    assert recorded(tmp_path) == [exit_number(1), exit_number(2)]


def test_half_a_line_of_a_killed_writer_is_dropped(tmp_path: Path) -> None:
    """What was cut off is left out, and what comes after it is whole."""
    History(tmp_path).add(exit_number(1))
    with (tmp_path / EXITS).open("a") as file:
        file.write('{"at":"2026')
    assert History(tmp_path).add(exit_number(2))
    assert recorded(tmp_path) == [exit_number(1), exit_number(2)]


def test_the_history_is_bounded_and_private(tmp_path: Path) -> None:
    """However many exits there are, the file keeps the last ones only, for its owner alone."""
    history = History(tmp_path)
    for number in range(2 * KEPT + 5):
        history.add(exit_number(number))
    exits = recorded(tmp_path)
    assert KEPT <= len(exits) < 2 * KEPT
    assert exits[-1] == exit_number(2 * KEPT + 4)
    assert stat.S_IMODE((tmp_path / EXITS).stat().st_mode) == 0o600


def test_the_last_exit_of_a_program_is_found(tmp_path: Path) -> None:
    """`last` answers by program."""
    history = History(tmp_path)
    history.add(exit_number(1))
    history.add(exit_number(2))
    assert history.last("inference-0") == exit_number(2)
    assert history.last("gateway-0") is None
