"""Records every exit exactly once, with its reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from deploy.controller.history import History
from deploy.controller.journal import Lives, read
from deploy.controller.log_follower import LogFollower
from deploy.controller.reasons import reason_of
from deploy.controller.state import State
from otel.lives import Exit, Life


class Recorder:
    """Turns supervisord's log into the history; `say` gets each exit once, after it was recorded."""

    def __init__(self, logs: Path, log: LogFollower, history: History, say: Callable[[Exit], None]) -> None:
        self._logs, self._log, self._history, self._say = logs, log, history, say

    def catch_up(self, state: State) -> State:
        """Record what happened since a state, and return the state after it.

        Raises OSError where the history cannot be written; then call again with the same state. Nothing is lost or
        doubled: the position moves only after the exits before it are recorded, and the history knows its own.
        """
        lines, position = self._log.read(state.position)
        while lines:
            lives: Lives = state.lives
            verdicts = state.verdicts
            for line in lines:
                before = lives
                lives, ended = read(lives, line)
                for exit_ in ended:
                    self._record(exit_, before.get(exit_.process), verdicts)
                    verdicts = {pid: verdict for pid, verdict in verdicts.items() if pid != exit_.pid}
            state = msgspec.structs.replace(state, position=position, lives=dict(lives), verdicts=verdicts)
            lines, position = self._log.read(position)
        return state

    def _record(self, exit_: Exit, life: Life | None, verdicts: dict[int, str]) -> None:
        reason = exit_.reason or verdicts.get(exit_.pid or 0)
        if reason is None and life is not None and not exit_.expected:
            reason = reason_of(self._logs / f"{exit_.process}.log", life.since, exit_.seconds)
        explained = msgspec.structs.replace(exit_, reason=reason)
        if self._history.add(explained):
            self._say(explained)
