"""Reads a log file that another program rotates: every line once, in order, across restarts of both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

HEAD_BYTES = 512
CHUNK_BYTES = 256 * 1024
STAMP = len("2026-11-24 05:46:12,345")


class Position(msgspec.Struct, frozen=True):
    """Up to where a log was read: a file known by its first line, the bytes of it, and the stamp of the last line.

    The first line and not the inode, because a new file often gets the inode of the one that was just removed.
    """

    head: str = ""
    offset: int = 0
    stamp: str = ""


class LogFollower:
    """Follows `path` and its backups `path.1` (the newest) to `path.N`."""

    def __init__(self, path: Path, backups: int) -> None:
        self._paths = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, backups + 1))]

    def read(self, position: Position) -> tuple[list[str], Position]:
        """Return whole lines after a position and the position behind them; no lines when there are none yet.

        One call reads at most CHUNK_BYTES and from one file only, so read until nothing comes.
        """
        heads = self._heads()
        if position.head not in heads:
            return _lines(_first_after(position, heads) or self._paths[0], Position())
        newest_first = list(heads)
        index = newest_first.index(position.head)
        lines, after = _lines(heads[position.head], position)
        if lines or not index:
            return lines, after
        head = newest_first[index - 1]
        return _lines(heads[head], Position(head))

    def _heads(self) -> dict[str, Path]:
        # Newest first, and the first of two equal ones wins: a rotation may happen while we look.
        heads: dict[str, Path] = {}
        for path in self._paths:
            if head := _head(path):
                heads.setdefault(head, path)
        return heads


def _first_after(position: Position, heads: Mapping[str, Path]) -> Path | None:
    # The file is gone, or none was read yet. What is left is newer, or older where somebody cleared the log.
    newer = [path for head, path in heads.items() if position.stamp and head[:STAMP] > position.stamp]
    return newer[-1] if newer else None


def _head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _first_line(file)
    except FileNotFoundError:
        return ""


def _first_line(file: BinaryIO) -> str:
    start = file.read(HEAD_BYTES)
    line, newline, _ = start.partition(b"\n")
    return line.decode(errors="replace") if newline or len(start) == HEAD_BYTES else ""


def _lines(path: Path, position: Position) -> tuple[list[str], Position]:
    try:
        with path.open("rb") as file:
            head = _first_line(file)
            file.seek(position.offset)
            whole, newline, _ = file.read(CHUNK_BYTES).rpartition(b"\n")
    except FileNotFoundError:
        return [], position
    if not newline or position.head not in {"", head}:
        return [], position  # nothing new, or rotated since it was looked up: the next call finds its other name
    lines = whole.decode(errors="replace").split("\n")
    return lines, Position(head, position.offset + len(whole) + 1, lines[-1][:STAMP])
