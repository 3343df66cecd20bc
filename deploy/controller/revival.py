"""When a program that supervisord gave up is started again. Pure: times come in, in seconds of the monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from supervisor.states import ProcessStates

from inference_core.settings import Controller

FIRST_DELAY = 1.0


class Backoff(msgspec.Struct, frozen=True):
    """The pause before the next start, and when it is over; `due` is None while the program is not FATAL."""

    delay: float = FIRST_DELAY
    due: float | None = None


@dataclass(frozen=True)
class Observation:
    """What is seen of a program now: its state, whether its last run served, seconds since it became RUNNING."""

    state: int
    served: bool = False
    running: float = 0.0


@dataclass(frozen=True)
class Step:
    """The program's next backoff (None: forgotten), and whether it is to be started now."""

    backoff: Backoff | None
    start: bool = False


def step(backoff: Backoff | None, seen: Observation, now: float, settings: Controller) -> Step:
    """Decide on one program.

    A run that served and was lost is no failed start: supervisord's BACKOFF and FATAL do not hold it up. What a
    person stopped is STOPPED, and stays.
    """
    if seen.state in {ProcessStates.BACKOFF, ProcessStates.FATAL} and seen.served:
        return Step(backoff, start=True)
    if seen.state == ProcessStates.FATAL:
        return _given_up(backoff or Backoff(), now, settings.longest_backoff)
    if seen.state == ProcessStates.STOPPED:
        return Step(None)
    is_stable = seen.state == ProcessStates.RUNNING and seen.running >= settings.stable_after
    return Step(None if is_stable else backoff)


def _given_up(backoff: Backoff, now: float, longest: float) -> Step:
    delay = min(backoff.delay, longest)
    if backoff.due is None:
        return Step(Backoff(delay, now + delay))
    if min(backoff.due, now + delay) > now:  # a monotonic clock starts anew with the machine
        return Step(Backoff(delay, min(backoff.due, now + delay)))
    return Step(Backoff(min(2 * delay, longest)), start=True)
