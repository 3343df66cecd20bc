"""What a dead worker wrote is believed, what a living one writes is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from inference_core import death_note
from tests.processes import ended_pid, unburied

NAMED = "0123456789abcdef" * 2


def test_a_note_counts_once_its_writer_is_dead(tmp_path: Path) -> None:
    """The fingerprint comes with the time at which it was written."""
    death_note.write(tmp_path / "note", NAMED, ended_pid())
    fingerprint, written_at = death_note.read(tmp_path / "note")
    assert fingerprint == NAMED
    assert written_at == pytest.approx(time.time(), abs=5)


def test_a_killed_process_is_dead_before_it_is_buried(tmp_path: Path) -> None:
    """Its parent may be slow to ask for its status."""
    with unburied() as pid:
        death_note.write(tmp_path / "note", NAMED, pid)
        assert death_note.read(tmp_path / "note")[0] == NAMED


def test_the_note_of_a_living_process_accuses_nobody(tmp_path: Path) -> None:
    """What the next worker in a dead one's place runs alone at the moment has killed nothing."""
    death_note.write(tmp_path / "note", NAMED)
    assert str(os.getpid()) in (tmp_path / "note").read_text()
    assert death_note.read(tmp_path / "note") == ("", 0.0)


@pytest.mark.parametrize("content", [b"", b"x", NAMED.encode(), b"a b", b"a 1 2", b"\xff 1", b"a \xff"])
def test_what_is_no_note_says_nothing(tmp_path: Path, content: bytes) -> None:
    """Whatever the file holds, and where there is none."""
    assert death_note.read(tmp_path / "note") == ("", 0.0)
    (tmp_path / "note").write_bytes(content)
    assert death_note.read(tmp_path / "note") == ("", 0.0)
