"""What supervisord's own log tells of its programs: who was spawned, and how each one ended.

After a respawn supervisord's RPC has forgotten how the life before ended, and an event listener gets neither signal
nor exit code and loses what happens while it is down. The log has all of it (supervisor/process.py: `finish`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from otel.lives import Exit, Life

_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) [A-Z]{4} (.*)")
_SPAWNED = re.compile(r"spawned: '(.+)' with pid (\d+)")
_ENDED = re.compile(r"(exited|stopped): (\S+) \((.*)\)")
_STARTED = re.compile(r"supervisord started with pid \d+")
_CODE = re.compile(r"exit status (\d+)")
_SIGNAL = re.compile(r"terminated by (SIG[A-Z0-9+]+|signal \d+)")
_SLOT = re.compile(r"inference-(\d+)")
_EXPECTED = "; expected"
LOST = "supervisord ended before it"


Lives = Mapping[str, Life]


def read(lives: Lives, line: str) -> tuple[Lives, list[Exit]]:
    """Return who runs after a line of the log, and the exits that it tells of; other lines change nothing."""
    parts = _LINE.fullmatch(line)
    if parts is None:
        return lives, []
    at, message = _seconds(parts[1]), parts[2]
    if spawned := _SPAWNED.fullmatch(message):
        return {**lives, spawned[1]: Life(int(spawned[2]), at)}, []
    if ended := _ENDED.fullmatch(message):
        rest = {name: life for name, life in lives.items() if name != ended[2]}
        return rest, [_exit(at, ended[2], lives.get(ended[2]), ended[3], asked=ended[1] == "stopped")]
    if _STARTED.fullmatch(message):
        return {}, [_lost(at, name, life) for name, life in lives.items()]
    return lives, []


def slot_of(process: str) -> int | None:
    """Return the slot of a worker's process name, None for another program."""
    match = _SLOT.fullmatch(process)
    return int(match[1]) if match else None


def _exit(at: float, name: str, life: Life | None, cause: str, *, asked: bool) -> Exit:
    code, signal = _CODE.match(cause), _SIGNAL.match(cause)
    return Exit(
        at=_utc(at),
        process=name,
        slot=slot_of(name),
        pid=life.pid if life else None,
        # The log has local time, which an hour is missing from or doubled in twice a year.
        uptime=round(max(0.0, at - life.since), 3) if life else None,
        signal=signal[1] if signal else None,
        code=int(code[1]) if code else None,
        core="(core dumped)" in cause,
        expected=asked or cause.endswith(_EXPECTED),
        asked=asked,
    )


def _lost(at: float, name: str, life: Life) -> Exit:
    return Exit(at=_utc(at), process=name, slot=slot_of(name), pid=life.pid, reason=LOST)


def _seconds(local: str) -> float:
    return datetime.fromisoformat(local).timestamp()


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
