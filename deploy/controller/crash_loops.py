"""Programs that end again and again: supervisord starts them anew for ever and says nothing."""

from __future__ import annotations

from collections import deque

from otel.lives import Exit

WINDOW_SECONDS = 60.0
ENOUGH = 3


class CrashLoops:
    """Counts the exits that nobody asked for, by program."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}
        self._said: dict[str, float] = {}

    def note(self, exit_: Exit) -> int | None:
        """Return the exits of the last minute where they are a loop, at most once a minute for each program."""
        if exit_.asked:
            return None
        at = exit_.seconds
        times = self._times.setdefault(exit_.process, deque())
        times.append(at)
        while times[0] < at - WINDOW_SECONDS:
            times.popleft()
        is_said = at - self._said.get(exit_.process, -WINDOW_SECONDS) < WINDOW_SECONDS
        if len(times) < ENOUGH or is_said:
            return None
        self._said[exit_.process] = at
        return len(times)
