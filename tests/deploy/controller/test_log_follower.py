"""A log is read once and in order, whatever its writer and its reader do."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from supervisor.loggers import RotatingFileHandler

from deploy.controller.log_follower import CHUNK_BYTES, LogFollower, Position

BACKUPS = 3


def read_all(follower: LogFollower, position: Position) -> tuple[list[str], Position]:
    """Read until nothing comes."""
    found: list[str] = []
    while True:
        lines, after = follower.read(position)
        if not lines:
            return found, position
        found, position = found + lines, after


def lines_of(count: int, first: int = 0) -> list[str]:
    """Return distinct lines in the order of their stamps, as long as supervisord's."""
    return [
        f"2026-11-24 05:{number // 60:02}:{number % 60:02},000 INFO line {number}"
        for number in range(first, first + count)
    ]


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=12))
def test_each_line_comes_once_and_in_order(steps: list[tuple[int, bool]]) -> None:
    """Supervisor's own rotation and a reader that starts anew at any time neither lose nor double a line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "supervisord.log"
        # Room for two lines in each file, so that no step outruns the backups.
        writer = RotatingFileHandler(str(path), maxBytes=80, backupCount=BACKUPS)
        follower, position = LogFollower(path, BACKUPS), Position(stamp="2026-11-24 00")
        written: list[str] = []
        found: list[str] = []
        for count, restarts in steps:
            for text in lines_of(count, len(written)):
                writer.stream.write(f"{text}\n".encode())
                writer.stream.flush()
                writer.doRollover()
                written.append(text)
            if restarts:
                follower = LogFollower(path, BACKUPS)
            lines, position = read_all(follower, position)
            found += lines
        writer.close()
    assert found == written


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    """A line that is still being written is read when it is whole."""
    path = tmp_path / "log"
    follower = LogFollower(path, BACKUPS)
    first, second = lines_of(2)
    path.write_text(f"{first}\n{second[:5]}")
    lines, position = read_all(follower, Position())
    path.write_text(f"{first}\n{second}\n")
    assert (lines, read_all(follower, position)[0]) == ([first], [second])


def test_a_log_that_was_cleared_is_followed_on(tmp_path: Path) -> None:
    """A log that was emptied, even one with the same inode and size, reads what is new and not the older backups."""
    path = tmp_path / "log"
    old, new, newer = lines_of(3)
    path.write_text(f"{old}\n")
    path.rename(tmp_path / "log.1")
    path.write_text(f"{new}\n")
    follower = LogFollower(path, BACKUPS)
    _, position = read_all(follower, Position())
    path.write_text(f"{newer}\n")
    assert read_all(follower, position)[0] == [newer]


def test_a_long_log_comes_in_pieces(tmp_path: Path) -> None:
    """One call never reads more than a bounded piece, and the pieces make the whole."""
    path = tmp_path / "log"
    written = lines_of(3 * CHUNK_BYTES // 40)
    path.write_text("".join(f"{text}\n" for text in written))
    follower = LogFollower(path, BACKUPS)
    assert len(follower.read(Position())[0]) < len(written)
    assert read_all(follower, Position())[0] == written


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    """A missing file is an empty one."""
    assert LogFollower(tmp_path / "log", BACKUPS).read(Position()) == ([], Position())
