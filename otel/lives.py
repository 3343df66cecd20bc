"""How the programs of this machine live and end, as the controller writes it down in the run folder; anyone may read.

`exits.jsonl` has one exit a line, oldest first; `controller.json` has, among other things, who runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from otel.processes import children, processor_seconds, resident_bytes, supervisord_of, tree

EXITS = "exits.jsonl"
STATE = "controller.json"


class Life(msgspec.Struct, frozen=True):
    """One run of a program: its pid, and its start in seconds since the epoch."""

    pid: int
    since: float


class Exit(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one run ended: `signal` or `code`, `uptime` in seconds, `asked` where somebody stopped it by supervisord.

    `at` is UTC in ISO 8601. What cannot be known is None: all three where supervisord itself was killed.
    """

    at: str
    process: str
    slot: int | None = None
    pid: int | None = None
    uptime: float | None = None
    signal: str | None = None
    code: int | None = None
    core: bool = False
    expected: bool = False
    asked: bool = False
    reason: str | None = None

    @property
    def key(self) -> tuple[str, int | None, str]:
        """What no two exits share."""
        return self.process, self.pid, self.at

    @property
    def seconds(self) -> float:
        """When it was, in seconds since the epoch."""
        return datetime.fromisoformat(self.at).timestamp()


class Running(msgspec.Struct, frozen=True):
    """A program that runs: seconds since its start, resident bytes and processor seconds of it and its children."""

    program: str
    pid: int
    uptime: float
    memory_bytes: int
    processor_seconds: float


class _State(msgspec.Struct, frozen=True):
    lives: dict[str, Life] = {}


_exit = msgspec.json.Decoder(Exit)
_state = msgspec.json.Decoder(_State)


def recorded(run_folder: Path) -> list[Exit]:
    """Return the recorded exits, oldest first; a line that cannot be read is left out."""
    try:
        lines = (run_folder / EXITS).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [found for line in lines if (found := _decoded(line))]


def running(run_folder: Path) -> list[Running]:
    """Return the programs that supervisord runs in that folder, by name; none where it or the controller never ran."""
    now = time.time()
    return [_measured(name, life, now) for name, life in sorted(_lives(run_folder).items())]


def restarts(exits: Sequence[Exit], since: float) -> dict[str, int]:
    """Return for each program how often it ended without being asked to, since a time in seconds since the epoch."""
    counts: dict[str, int] = {}
    for exit_ in exits:
        if not exit_.asked and exit_.seconds > since:
            counts[exit_.process] = counts.get(exit_.process, 0) + 1
    return counts


def _lives(run_folder: Path) -> Mapping[str, Life]:
    try:
        # A pid may be somebody else's by now: only children of this supervisord are meant.
        alive = set(children(supervisord_of(run_folder)))
        lives = _state.decode((run_folder / STATE).read_bytes()).lives
    except (OSError, ValueError):
        return {}
    return {name: life for name, life in lives.items() if life.pid in alive}


def _measured(name: str, life: Life, now: float) -> Running:
    pids = tree(life.pid)
    memory = sum(map(resident_bytes, pids))
    return Running(name, life.pid, max(0.0, now - life.since), memory, processor_seconds(pids))


def _decoded(line: bytes) -> Exit | None:
    try:
        return _exit.decode(line)
    except msgspec.DecodeError:
        return None
